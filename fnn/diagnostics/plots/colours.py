"""Colours that all readers can tell apart, and marks for those who see none.

The categories are those of Okabe and Ito (2008), "Color Universal Design", in the order of how far they
lie apart; scales are cividis (Nuñez, Anderton, Renslow 2018) and, around 0, blue and red. No picture says
by colour alone what it says: categories have marks or names too, scales have numbers.
"""

BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
ORANGE, PURPLE, SKY, YELLOW, BLACK = "#E69F00", "#CC79A7", "#56B4E9", "#F0E442", "#000000"
CATEGORIES = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, BLACK, YELLOW)
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":", "-", "--", "-.", ":")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

SCALE = "cividis"  # of what is not negative
SIGNED = "RdBu_r"  # around 0

TEXT, MUTED, GRID = "#1d1f23", "#595f69", "#e4e6ea"


def category(i: int) -> str:
    """The colour of category i; those beyond the eighth come again, with another mark beside."""
    return CATEGORIES[i % len(CATEGORIES)]


def mark(i: int) -> str:
    """The mark of category i: in the second round of colours no mark is where it was."""
    return MARKS[(i + i // len(MARKS)) % len(MARKS)]
