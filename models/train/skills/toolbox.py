"""The tools of the tool-calling examples: schema, how people ask, what comes back, how to say it.

Values are drawn for one side: invented names are hashed as names, numbers are free.
"""

import dataclasses
import json
from collections.abc import Callable

import split


@dataclasses.dataclass(frozen=True)
class Tool:
    name: str
    description: str
    parameters: dict  # name -> (type, description)
    ask: list
    values: Callable  # (rng, side) -> arguments
    result: Callable  # (rng, arguments) -> dict
    answer: str  # formatted with arguments and result

    def schema(self):
        properties = {key: {"type": kind, "description": text} for key, (kind, text) in self.parameters.items()}
        return {
            "name": self.name,
            "description": self.description,
            "parameters": {"type": "object", "properties": properties, "required": list(self.parameters)},
        }


def named(key):
    return lambda rng, side: {key: split.name(rng, side)}


def number(rng, top):
    return rng.randrange(1, 10 ** rng.randrange(1, len(str(top))))


SKY = "sunny cloudy rainy windy foggy clear stormy icy hazy dry wet mild".split()
# So many of each that a value is sooner copied than guessed.
COLOURS = "red green blue white black yellow brown grey purple orange golden silver pink warm cold dark soft bright".split()
ROOMS = "kitchen bedroom hall garden office cellar attic bathroom garage library study shop barn stable school church".split()
THINGS = ("bread milk apples paper tea rice soap salt eggs candles butter flour sugar wine beer meat fish corn beans "
          "oil coal wood rope nails glass ink cloth wool shoes flowers fruit water cheese honey oats").split()  # fmt: skip
UNITS = ("metres miles pounds litres feet grams inches yards gallons tons acres hours days weeks months years degrees "
         "ounces seconds minutes").split()  # fmt: skip
LANGUAGES = ("French German Spanish Italian Latin Greek English Dutch Russian Chinese Danish Polish Turkish Arabic Hebrew "
             "Irish Welsh Swedish").split()  # fmt: skip


def message(rng, side):
    """A few words to send."""
    thing, room, name = rng.choice(THINGS), rng.choice(ROOMS), split.name(rng, side)
    return rng.choice([
        "come home", "call me", "I am late", "all is well", "see you soon", "wait for me", f"bring {thing}", f"buy {thing}",
        f"meet me in the {room}", f"the {thing} is in the {room}", f"I am in the {room}", f"call {name}", f"{name} is here",
        f"we have no {thing}", f"where is the {thing}", f"{name} wants {thing}", f"come to {name}", f"{thing} and {rng.choice(THINGS)}",
    ])  # fmt: skip


TOOLS = [
    Tool("get_weather", "Get the weather of a city", {"city": ("string", "Name of the city")},
         ["What is the weather in {city}?", "How is the weather in {city} today?", "Is it warm in {city}?", "Weather in {city}"],
         named("city"), lambda rng, a: {"temp": rng.randrange(1, 40), "sky": rng.choice(SKY)},
         "In {city} it is {sky} with {temp} degrees."),
    Tool("get_time", "Get the current time in a city", {"city": ("string", "Name of the city")},
         ["What time is it in {city}?", "Tell me the time in {city}.", "How late is it in {city}?"],
         named("city"), lambda rng, a: {"time": f"{rng.randrange(24):02d}:{rng.randrange(60):02d}"},
         "It is {time} in {city}."),
    Tool("get_population", "Number of people in a town", {"town": ("string", "Name of the town")},
         ["How many people live in {town}?", "What is the population of {town}?"],
         named("town"), lambda rng, a: {"people": rng.randrange(100, 99999)}, "{people} people live in {town}."),
    Tool("find_phone", "Look up a phone number", {"person": ("string", "Name of the person")},
         ["What is the phone number of {person}?", "Find {person}'s number.", "How can I call {person}?"],
         named("person"), lambda rng, a: {"phone": str(rng.randrange(10000, 99999))},
         "The phone number of {person} is {phone}."),
    Tool("find_book", "Find out who wrote a book", {"title": ("string", "Title of the book")},
         ["Who wrote {title}?", "Who is the author of the book {title}?"],
         named("title"), lambda rng, a: {"author": split.invented(rng).capitalize()}, "{author} wrote {title}."),
    Tool("get_price", "Price of a thing in the shop", {"item": ("string", "What to buy")},
         ["How much is the {item}?", "What does {item} cost?", "Price of {item}?"],
         lambda rng, side: {"item": rng.choice(THINGS)}, lambda rng, a: {"price": rng.randrange(1, 99), "stock": rng.randrange(9)},
         "The price of {item} is {price}."),
    Tool("add_to_list", "Add things to the shopping list",
         {"item": ("string", "What to buy"), "count": ("integer", "How many")},
         ["Put {count} {item} on my shopping list.", "Add {count} {item} to the list.", "I need {count} {item}."],
         lambda rng, side: {"item": rng.choice(THINGS), "count": number(rng, 100)}, lambda rng, a: {"ok": True},
         "{count} {item} are on your list."),
    Tool("set_timer", "Start a timer", {"minutes": ("integer", "Length in minutes")},
         ["Set a timer for {minutes} minutes.", "Wake me in {minutes} minutes.", "Timer: {minutes} minutes"],
         lambda rng, side: {"minutes": number(rng, 1000)}, lambda rng, a: {"ok": True}, "The timer runs for {minutes} minutes."),
    Tool("send_message", "Send a short message to a person",
         {"to": ("string", "Who receives it"), "text": ("string", "The message")},
         ["Tell {to}: {text}", "Send {to} a message: {text}", "Write to {to}: {text}"],
         lambda rng, side: {"to": split.name(rng, side), "text": message(rng, side)},
         lambda rng, a: {"sent": True}, "Your message to {to} is sent."),
    Tool("set_light", "Change the colour of a lamp",
         {"room": ("string", "The room"), "colour": ("string", "The colour")},
         ["Make the light in the {room} {colour}.", "Turn the {room} lamp {colour}.", "{colour} light in the {room}, please."],
         lambda rng, side: {"room": rng.choice(ROOMS), "colour": rng.choice(COLOURS)}, lambda rng, a: {"ok": True},
         "The light in the {room} is {colour} now."),
    Tool("convert_unit", "Convert a quantity to another unit",
         {"value": ("number", "The quantity"), "from": ("string", "Its unit"), "to": ("string", "The unit wanted")},
         ["How many {to} are {value} {from}?", "Convert {value} {from} to {to}.", "{value} {from} in {to}?"],
         lambda rng, side: dict(zip(("value", "from", "to"), (number(rng, 1000), *rng.sample(UNITS, 2)))),
         lambda rng, a: {"result": number(rng, 10000)}, "{value} {from} are {result} {to}."),
    Tool("translate", "Translate a word", {"word": ("string", "The word"), "language": ("string", "Target language")},
         ["What is {word} in {language}?", "Translate {word} to {language}.", "How do you say {word} in {language}?"],
         lambda rng, side: {"word": split.name(rng, side).lower(), "language": rng.choice(LANGUAGES)},
         lambda rng, a: {"translation": split.invented(rng)}, "In {language}, {word} is {translation}."),
    Tool("get_distance", "Distance between two towns",
         {"start": ("string", "First town"), "end": ("string", "Second town")},
         ["How far is it from {start} to {end}?", "Distance from {start} to {end}?", "How far is {end} from {start}?"],
         lambda rng, side: {"start": split.name(rng, side), "end": split.name(rng, side)},
         lambda rng, a: {"miles": number(rng, 10000)}, "From {start} to {end} it is {miles} miles."),
    Tool("book_table", "Book a table for dinner",
         {"place": ("string", "Name of the restaurant"), "people": ("integer", "Number of guests")},
         ["Book a table for {people} at {place}.", "I want to eat at {place} with {people} people.", "Table for {people} at {place}"],
         lambda rng, side: {"place": split.name(rng, side), "people": rng.randrange(1, 20)},
         lambda rng, a: {"time": f"{rng.randrange(17, 23)}:00"}, "Your table at {place} for {people} is booked at {time}."),
    Tool("read_sensor", "Read a sensor", {"id": ("integer", "Number of the sensor")},
         ["What does sensor {id} say?", "Read sensor {id}.", "Value of sensor {id}?"],
         lambda rng, side: {"id": number(rng, 1000)}, lambda rng, a: {"value": number(rng, 10000)}, "Sensor {id} reads {value}."),
    Tool("play_song", "Play a song", {"title": ("string", "Title of the song")},
         ["Play {title}.", "I want to hear {title}.", "Please play the song {title}."],
         named("title"), lambda rng, a: {"playing": True}, "Now playing {title}."),
]  # fmt: skip


def example(rng, side, tool):
    """(request, arguments, result as JSON text, answer)"""
    arguments = tool.values(rng, side)
    result = tool.result(rng, arguments)
    answer = tool.answer.format(**arguments, **result)
    request = rng.choice(tool.ask).format(**arguments)
    return request[0].upper() + request[1:], arguments, json.dumps(result), answer[0].upper() + answer[1:]
