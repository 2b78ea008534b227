"""Everyday words and names that the tasks are made of."""

# ruff: noqa: SIM905 - a hundred words read better as text than as a list

NOUNS = tuple(
    """anchor apple basket bench bottle bridge bucket butter button cabin camel candle carpet castle cherry
    circle cloud coffee cotton curtain desert dinner doctor dragon engine farmer feather finger flower forest
    fossil garden guitar hammer harbor helmet honey island jacket jungle kettle kitten ladder lantern lemon
    letter lizard magnet market meadow melon mirror monkey mountain needle nephew ocean office onion orange
    oven paper parrot pencil pepper piano pillow pirate planet pocket potato rabbit ribbon river rocket
    saddle salmon school shadow silver spider spoon statue summer sweater table teapot temple ticket tiger
    tomato tunnel turtle umbrella valley velvet village violin wagon walnut wallet window winter wizard
    yogurt zebra""".split()
)
SHORT = tuple(
    """arm ant bag bat bed bee bell bird boat book bowl box bus cake cap card cat coat corn cow cup desk dog
    door drum duck ear egg fan farm fish flag fork fox frog gate goat gold hand hat hen hill ice ink jam jar
    key king lake lamp leaf lion map milk moon nest net nut oak owl pan park pen pig pin pond pot rain ring
    road roof rope rose salt sand seed ship shoe sky snow soap sock star sun tea tent toy tree van wall web
    well wind wolf wood yard zoo""".split()
)
FIRST = tuple(
    """Ada Alan Anna Ben Carla Clara Dan David Dora Ella Emil Emma Eric Eva Felix Fred George Grace Hanna Hugo
    Ida Ines Ivan Jack Jane Joan Karl Kate Laura Leo Lily Lucas Maria Mark Martha Max Mia Nina Noah Nora
    Olga Oscar Paul Peter Rosa Ruth Sam Sara Simon Tina Tom Vera Victor Walter Wendy""".split()
)
LAST = tuple(
    """Adams Baker Barnes Bishop Brown Carter Clark Cole Cook Cooper Dean Ellis Fisher Foster Grant Gray Green
    Hall Harris Hill Hunt Jones King Lane Lewis Marsh Mason Miller Moore Morgan Nash Owen Parker Perry Price
    Reed Rice Rose Scott Shaw Smith Stone Taylor Turner Walker Ward Webb West White Young""".split()
)
CITIES = tuple(
    """Athens Berlin Boston Cairo Chicago Dublin Geneva Havana Lima Lisbon London Madrid Milan Moscow Oslo
    Paris Prague Rome Seoul Sydney Tokyo Vienna Warsaw Zurich""".split()
)
FRUIT = tuple("apples bananas cherries grapes lemons mangoes melons olives peaches pears plums".split())
MONTHS = tuple(
    """January February March April May June July August September October November December""".split()
)
DAYS = tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())
NUMBERS = tuple(
    """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty""".split()
)
