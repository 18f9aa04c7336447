"""How nano is made: corpus, tokenizer, packing, objectives, training, evaluation."""
