"""The wording of the built-in word problems: text, gold expression, ranges of its numbers.

In an expression every operation but the outermost has brackets of its own, so that each
intermediate result can be read off and kept a whole number.
"""

NAMES = (
    "Ada",
    "Amir",
    "Anna",
    "Ben",
    "Bruno",
    "Carla",
    "Chen",
    "Clara",
    "David",
    "Dina",
    "Elif",
    "Emma",
    "Felix",
    "Gita",
    "Hana",
    "Hugo",
    "Ines",
    "Ivan",
    "Jonas",
    "Julia",
    "Kofi",
    "Lena",
    "Leo",
    "Lucia",
    "Maya",
    "Milan",
    "Nadia",
    "Nils",
    "Noor",
    "Olga",
    "Omar",
    "Paula",
    "Priya",
    "Rosa",
    "Sami",
    "Sofia",
    "Tariq",
    "Tess",
    "Viktor",
    "Wanda",
    "Yara",
    "Yusuf",
    "Zoe",
)

THINGS = (
    "marbles",
    "stickers",
    "apples",
    "pencils",
    "stamps",
    "coins",
    "cards",
    "shells",
    "buttons",
    "beads",
    "postcards",
    "walnuts",
    "balloons",
    "tickets",
    "bottles",
    "magnets",
    "ribbons",
    "plums",
)

# (text, expression, "number low-high, ...")
TEMPLATES: tuple[tuple[str, str, str], ...] = (
    # --- one operation: sum
    (
        "{name} has {a} {thing} and gets {b} more from {other}. How many {thing} does {name} have"
        " now?",
        "a + b",
        "a 4-95, b 3-80",
    ),
    (
        "There are {a} {thing} in a red box and {b} {thing} in a blue box. How many {thing} are"
        " there in both boxes together?",
        "a + b",
        "a 6-120, b 6-120",
    ),
    (
        "On Monday {name} walked {a} minutes, on Tuesday {b} minutes. How many minutes did {name}"
        " walk on the two days?",
        "a + b",
        "a 10-95, b 10-95",
    ),
    (
        "After giving {b} {thing} to {other}, {name} still has {a} {thing}. How many {thing} did"
        " {name} have at first?",
        "a + b",
        "a 5-90, b 2-60",
    ),
    # --- one operation: difference
    (
        "{name} had {a} {thing} and lost {b} of them. How many {thing} are left?",
        "a - b",
        "a 12-120, b 2-90",
    ),
    (
        "{name} has {a} {thing}, {other} has {b}. How many more {thing} does {name} have than"
        " {other}?",
        "a - b",
        "a 12-140, b 3-110",
    ),
    (
        "A shelf has room for {a} books. {b} books stand on it already. How many more books can be"
        " put on the shelf?",
        "a - b",
        "a 20-150, b 5-120",
    ),
    (
        "A rope was {a} metres long. {name} cut off a piece, and {b} metres remained. How long was"
        " the piece, in metres?",
        "a - b",
        "a 10-99, b 2-80",
    ),
    (
        "{name} wants to save {a} dollars and has saved {b} dollars so far. How many dollars are"
        " still missing?",
        "a - b",
        "a 30-400, b 5-300",
    ),
    # --- one operation: product
    (
        "Each bag holds {a} {thing}. How many {thing} are in {b} bags?",
        "a * b",
        "a 3-40, b 2-15",
    ),
    (
        "{name} reads {a} pages every day. How many pages does {name} read in {b} days?",
        "a * b",
        "a 4-60, b 2-21",
    ),
    (
        "A hall has {a} rows with {b} chairs each. How many chairs are in the hall?",
        "a * b",
        "a 3-30, b 4-30",
    ),
    (
        "One ticket costs {b} dollars. {name} buys {a} tickets. How many dollars does {name} pay?",
        "a * b",
        "a 2-25, b 3-45",
    ),
    # --- one operation: quotient
    (
        "{name} shares {a} {thing} equally among {b} friends. How many {thing} does each friend"
        " get?",
        "a / b",
        "a 12-180, b 2-15",
    ),
    (
        "{a} eggs are packed into boxes of {b}. How many boxes are filled?",
        "a / b",
        "a 12-240, b 3-12",
    ),
    (
        "A train goes {a} kilometres in {b} hours, always at the same speed. How many kilometres"
        " does it go in one hour?",
        "a / b",
        "a 60-600, b 2-9",
    ),
    (
        "{name} paid {a} dollars for {b} equal notebooks. What did one notebook cost, in dollars?",
        "a / b",
        "a 10-160, b 2-16",
    ),
    # --- two operations
    (
        "{name} had {a} {thing}, found {b} more and then gave {c} to {other}. How many {thing}"
        " does {name} have now?",
        "(a + b) - c",
        "a 8-80, b 3-50, c 2-60",
    ),
    (
        "There were {a} people on a bus. At a stop {b} got off and {c} got on. How many people are"
        " on the bus now?",
        "(a - b) + c",
        "a 15-70, b 3-40, c 2-35",
    ),
    (
        "{name} buys {a} pens at {b} dollars each and a folder for {c} dollars. How many dollars"
        " does {name} spend in all?",
        "(a * b) + c",
        "a 2-14, b 2-9, c 3-30",
    ),
    (
        "{name} has {a} dollars and buys {b} {thing} at {c} dollars each. How many dollars are"
        " left?",
        "a - (b * c)",
        "a 40-200, b 2-12, c 2-12",
    ),
    (
        "A farmer picks {a} pears, throws away {b} bad ones and packs the rest into crates of {c}."
        " How many crates does the farmer fill?",
        "(a - b) / c",
        "a 30-260, b 2-40, c 3-15",
    ),
    (
        "{name} earns {a} dollars an hour. How many dollars does {name} earn by working {b} hours"
        " on Saturday and {c} hours on Sunday?",
        "a * (b + c)",
        "a 6-30, b 2-9, c 2-9",
    ),
    (
        "{name} and {other} have {a} and {b} {thing}. They put them together and share them"
        " equally among {c} children. How many {thing} does each child get?",
        "(a + b) / c",
        "a 6-90, b 6-90, c 2-12",
    ),
    (
        "{a} children each bring {b} bottles. The bottles are then sorted into groups of {c}. How"
        " many groups are there?",
        "(a * b) / c",
        "a 3-24, b 2-12, c 2-12",
    ),
    (
        "A baker makes {a} rolls in the morning and sells {b} of them, then sells each of the"
        " others for {c} cents. How many cents does the baker get for the others?",
        "(a - b) * c",
        "a 20-90, b 5-70, c 2-25",
    ),
    (
        "A pack of {a} {thing} costs {b} dollars, and {name} needs {c} {thing} for a party, so"
        " {name} buys just enough packs. How many dollars does {name} pay?",
        "(c / a) * b",
        "a 3-12, b 2-15, c 12-144",
    ),
    (
        "{name} has {a} {thing}. {other} has {b} times as many. How many {thing} do the two have"
        " together?",
        "a + (a * b)",
        "a 3-40, b 2-7",
    ),
    (
        "{name} split {a} {thing} equally into {b} bowls and then ate {c} from one of the bowls."
        " How many {thing} are left in that bowl?",
        "(a / b) - c",
        "a 24-180, b 2-10, c 1-15",
    ),
    # --- three operations
    (
        "{name} buys {a} {thing} at {b} dollars each and {c} lamps at {d} dollars each. How many"
        " dollars does {name} pay in all?",
        "(a * b) + (c * d)",
        "a 2-12, b 2-9, c 2-8, d 5-25",
    ),
    (
        "A class has {a} girls and {b} boys. {c} of the children are ill today, and the others"
        " work in groups of {d}. How many groups are there?",
        "((a + b) - c) / d",
        "a 8-24, b 8-24, c 1-9, d 2-8",
    ),
    (
        "{name} has {a} dollars, earns {b} dollars a week for {c} weeks and then buys a bicycle"
        " for {d} dollars. How many dollars are left?",
        "(a + (b * c)) - d",
        "a 10-90, b 8-40, c 3-12, d 60-300",
    ),
    (
        "A gardener plants {a} rows of {b} tulips. {c} tulips do not grow, and the others are sold"
        " for {d} dollars each. How many dollars does the gardener get?",
        "((a * b) - c) * d",
        "a 3-12, b 4-15, c 2-20, d 2-6",
    ),
    (
        "{name} fills {a} jars with {b} {thing} each and {other} fills {c} jars with the same"
        " number. Then they give {d} {thing} away. How many {thing} do they keep?",
        "((a + c) * b) - d",
        "a 2-9, b 5-25, c 2-9, d 4-60",
    ),
    (
        "A lorry carries {a} boxes of {b} kilograms and a van carries {c} boxes fewer, each of the"
        " same weight. How many kilograms do the two carry together?",
        "(a + (a - c)) * b",
        "a 8-40, b 2-15, c 2-30",
    ),
    (
        "{name} divides {a} {thing} equally among {b} friends. Each friend already had {c}, and"
        " each of them then loses {d}. How many {thing} does a friend have now?",
        "((a / b) + c) - d",
        "a 24-160, b 2-9, c 3-25, d 2-20",
    ),
    (
        "Two classes with {a} and {b} pupils go to a museum. A ticket costs {c} dollars, and the"
        " school gives {d} dollars towards it. How many dollars do the pupils pay together?",
        "((a + b) * c) - d",
        "a 15-30, b 15-30, c 3-12, d 20-150",
    ),
)
