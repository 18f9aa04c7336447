"""One sample a language: the text, and its outline to the letter."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaloom_server.context.outline import outline

BODY = "\n".join(f"        total = total + {i} * rate" for i in range(12))
C_BODY = "\n".join(f"        total = total + {i} * rate;" for i in range(12))

SAMPLES: dict[str, tuple[str, str]] = {
    "py": (
        f'''"""Prices.

Long story.
"""
import os
from .money import Money

RATE: float = 0.2
LIMIT = 3
TABLE = {{
    "a": 1,
}}
state = []

@dataclass(frozen=True)
class Price(Base[T], metaclass=Meta):
    """A price, in euros.

    More of it.
    """

    amount: Money
    kind = "net"

    @property
    def gross(self, rate: float = RATE, *, größe: "str" = "é") -> Money:
        # why
        """With tax."""
{BODY}
        return total

    async def save(
        self,
        to: Path,  # where
    ) -> None:
        # no docs
{BODY}

if TYPE_CHECKING:
    def only(x: int) -> int:
        """Checked."""
        return x
''',
        '''"""Prices."""
RATE: float = 0.2
LIMIT = 3
TABLE = ...

@dataclass(frozen=True)
class Price(Base[T], metaclass=Meta):
    """A price, in euros."""
    amount: Money
    kind = "net"
    @property
    def gross(self, rate: float = RATE, *, größe: "str" = "é") -> Money:
        """With tax."""
    async def save(
        self,
        to: Path,  # where
    ) -> None: ...

def only(x: int) -> int:
    """Checked."""
''',
    ),
    "ts": (
        f"""import {{ a }} from './a'
/**
 * The most.
 *
 * @see other
 */
export const MAX: number = 3
const load = async <T,>(path: string): Promise<T> => {{
{C_BODY}
}}
const other = require('x')
@Component({{ selector: 'x' }})
export class Cart<T extends Item> extends Base implements Bag {{
  private items: T[] = []
  onClick = (e: Event) => {{
{C_BODY}
  }}
  /** How much. */
  total(rate: number): number {{
{C_BODY}
  }}
}}
export interface Bag {{ size: number }}
export type Id = string | number
export enum Kind {{ A, B }}
declare function free(x: Id): void
""",
        """/**
 * The most. */
export const MAX: number = 3
const load = async <T,>(path: string): Promise<T> => { … }

@Component({ selector: 'x' })
export class Cart<T extends Item> extends Base implements Bag {
  private items: T[] = []
  onClick = (e: Event) => { … }
  /** How much. */
  total(rate: number): number { … }
}
export interface Bag { size: number }
export type Id = string | number
export enum Kind { A, B }
declare function free(x: Id): void
""",
    ),
    "tsx": (
        f"export const App = ({{ name }}: Props) => {{\n{C_BODY}\n  return <b>{{name}}</b>\n}}\n",
        "export const App = ({ name }: Props) => { … }\n",
    ),
    "js": (
        f"// Adds.\nexport default function add(a, b = 2) {{\n{C_BODY}\n}}\n"
        f"Cart.prototype.sum = function (x) {{\n{C_BODY}\n}}\n",
        "// Adds.\nexport default function add(a, b = 2) { … }\nCart.prototype.sum = function (x) { … }\n",
    ),
    "go": (
        '// Package shop sells.\npackage shop\n\nimport "fmt"\n\n// Limit is the most.\nconst Limit = 3\n\n'
        'type Cart struct {\n\tItems []Item `json:"items"`\n}\n\n// Total adds.\n'
        f"func (c *Cart) Total(rate float64) (int, error) {{\n{C_BODY}\n}}\n"
        f"func Map[T any](xs []T) []T {{\n{C_BODY}\n}}\n",
        "// Package shop sells.\npackage shop\n// Limit is the most.\nconst Limit = 3\n"
        "type Cart struct {\n\tItems []Item `json:\"items\"`\n}\n// Total adds.\n"
        "func (c *Cart) Total(rate float64) (int, error) { … }\nfunc Map[T any](xs []T) []T { … }\n",
    ),
    "rs": (
        f"""//! Prices.
use std::fmt;
/// A price.
#[derive(Debug, Clone)]
pub struct Price<T> where T: Copy {{ amount: T }}
impl<T> Price<T> where T: Copy {{
    /// With tax.
    pub async fn gross(&self, rate: f64) -> Result<T, Error> {{
{C_BODY}
    }}
}}
pub trait Taxed: Sized {{
    const RATE: f64;
    fn tax(&self) -> f64;
}}
#[cfg(test)]
mod tests {{
    fn hidden() {{}}
}}
""",
        """//! Prices.
/// A price.
#[derive(Debug, Clone)]
pub struct Price<T> where T: Copy { amount: T }

impl<T> Price<T> where T: Copy {
    /// With tax.
    pub async fn gross(&self, rate: f64) -> Result<T, Error> { … }
}

pub trait Taxed: Sized {
    const RATE: f64;
    fn tax(&self) -> f64;
}
""",
    ),
    "java": (
        f"""package shop;
import java.util.List;
/** A cart. */
@Entity(name = "cart")
public class Cart<T> extends Base implements Bag {{
    private static final int LIMIT = 3;
    public Cart(int size) {{
{C_BODY}
    }}
    @Override
    public int total(double rate) throws Failure {{
{C_BODY}
    }}
    enum Kind {{ A, B }}
}}
""",
        """package shop;

/** A cart. */
@Entity(name = "cart")
public class Cart<T> extends Base implements Bag {
    private static final int LIMIT = 3;
    public Cart(int size) { … }
    @Override
    public int total(double rate) throws Failure { … }
    enum Kind {
        A,
        B,
    }
}
""",
    ),
    "h": (
        f"""#ifndef SHOP_H
#define SHOP_H
#define LIMIT 3
#include <vector>
struct item {{ int price; }};
/* Adds. */
int add(int a, int b);
static inline int twice(int a) {{
{C_BODY}
}}
#endif
""",
        """#define LIMIT 3

struct item {
    int price;
};
/* Adds. */
int add(int a, int b);
static inline int twice(int a) { … }
""",
    ),
    "c": (
        f"/* Adds. */\nint add(int a, int b)\n{{\n{C_BODY}\n}}\n"
        "static const int table[] = {\n  1,\n  2,\n};\n",
        "/* Adds. */\nint add(int a, int b) { … }\nstatic const int table[] = …\n",
    ),
    "cpp": (
        f"""namespace shop {{
/// A cart.
template <typename T>
class Cart : public Base {{
 public:
  explicit Cart(int size) : size_(size) {{
{C_BODY}
  }}
  virtual int total(double rate) const override {{
{C_BODY}
  }}
  T first_;
}};
}}
""",
        """namespace shop {
/// A cart.
template <typename T>
class Cart : public Base {
 public:
  explicit Cart(int size) { … }
  virtual int total(double rate) const override { … }
  T first_;
};
}
""",
    ),
    "rb": (
        f"""require "set"
# Sells.
module Shop
  class Cart < Base
    include Enumerable
    attr_reader :items
    LIMIT = 3
    # Adds.
    def total(rate = 1)
{BODY}
    end
    private
    def self.make(*items)
{BODY}
    end
  end
end
""",
        """# Sells.
module Shop
  class Cart < Base
    include Enumerable
    attr_reader :items
    LIMIT = 3
    # Adds.
    def total(rate = 1) … end
    private
    def self.make(*items) … end
  end
end
""",
    ),
    "php": (
        f"""<?php
namespace Shop;
use Other\\Thing;
/** A cart. */
abstract class Cart extends Base implements Bag {{
    const LIMIT = 3;
    private int $size = 1;
    /** Adds. */
    public function total(float $rate): ?int {{
{C_BODY}
    }}
    abstract function free(): void;
}}
""",
        """<?php

namespace Shop;

/** A cart. */
abstract class Cart extends Base implements Bag {
    const LIMIT = 3;
    private int $size = 1;
    /** Adds. */
    public function total(float $rate): ?int { … }
    abstract function free(): void;
}
""",
    ),
    "cs": (
        f"""using System;
namespace Shop
{{
    /// <summary>A cart.</summary>
    [Serializable]
    public class Cart<T> : Base where T : Item
    {{
        public const int Limit = 3;
        public int Size {{ get; set; }}
        public Cart(int size) : base(size)
        {{
{C_BODY}
        }}
        public async Task<int> Total(double rate)
        {{
{C_BODY}
        }}
        public int Twice(int a) => a + a + a + a + a + a + a + a + a + a;
    }}
}}
""",
        """namespace Shop {
    /// <summary>A cart.</summary>
    [Serializable]
    public class Cart<T> : Base where T : Item {
        public const int Limit = 3;
        public int Size { get; set; }
        public Cart(int size) { … }
        public async Task<int> Total(double rate) { … }
        public int Twice(int a) => …;
    }
}
""",
    ),
}  # fmt: skip


@pytest.mark.parametrize("suffix", SAMPLES)
def test_signatures_and_docs_stay_and_bodies_go(suffix: str) -> None:
    text, expected = SAMPLES[suffix]
    assert outline(f"shop/x.{suffix}", text) == expected


@pytest.mark.parametrize("suffix", SAMPLES)
def test_line_ends_and_a_missing_last_one_change_nothing(suffix: str) -> None:
    text, expected = SAMPLES[suffix]
    assert outline(f"x.{suffix}", text.replace("\n", "\r\n")) == expected
    assert outline(f"x.{suffix}", text.rstrip("\n")) == expected


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(SAMPLES)),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 300), st.text(max_size=5)), max_size=4),
)
def test_broken_code_gives_an_outline_or_none(suffix: str, cuts: list[tuple[int, int, str]]) -> None:
    text = SAMPLES[suffix][0]
    for at, length, put in cuts:
        at %= len(text) + 1
        text = text[:at] + put + text[at + length :]
    found = outline(f"x.{suffix}", text)
    assert found is None or (found.endswith("\n") and "\r" not in found and len(found) < len(text))
