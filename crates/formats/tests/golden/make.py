"""Avro as other implementations write it: fastavro, and the wire format of confluent-kafka's serializer, which write
avro.jsonl. `make.py verify FILE` reads what we wrote: lines with `schema` and `bytes`.

A line: `name`; `schema`; `value`, the value below its logical type: bytes and fixed as hex, a branch of a union as
{its name: value}, floats that JSON lacks as text; `bytes`, the Avro bytes as hex; `reads`, the value of a logical type as
people write it, where there is one; `wire`, the bytes that confluent-kafka's serializer makes, schema id 1."""

import io, json, sys
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import fastavro

INT, LONG = (-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1)
LIST = {"type": "record", "name": "List", "namespace": "golden", "fields": [
    {"name": "head", "type": "int"}, {"name": "tail", "type": ["null", "List"], "default": None}]}
INNER = {"type": "record", "name": "Inner", "fields": [{"name": "id", "type": "long"}]}
SUIT = {"type": "enum", "name": "Suit", "symbols": ["SPADES", "HEARTS", "DIAMONDS", "CLUBS"]}
MD5 = {"type": "fixed", "name": "Md5", "size": 16}
ORDER = {"type": "record", "name": "Order", "namespace": "shop", "doc": "one of each", "fields": [
    {"name": "id", "type": "long"}, {"name": "customer", "type": "string"}, {"name": "paid", "type": "boolean"},
    {"name": "note", "type": ["null", "string"], "default": None}, {"name": "suit", "type": SUIT},
    {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
        {"name": "sku", "type": "string"}, {"name": "count", "type": "int"},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}}]}}},
    {"name": "tags", "type": {"type": "map", "values": "string"}}, {"name": "digest", "type": MD5},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}, {"name": "blob", "type": "bytes"}]}


def decimal(precision, scale, size=None):
    of = {"logicalType": "decimal", "precision": precision, "scale": scale}
    return {"type": "fixed", "name": f"D{precision}", "size": size, **of} if size else {"type": "bytes", **of}


def logical(of, name):
    return {"type": of, "logicalType": name}


def twos(number, size=None):
    """Big-endian two's complement; as short as it goes, or of this size."""
    size = size or (number if number >= 0 else ~number).bit_length() // 8 + 1
    return number.to_bytes(size, "big", signed=True).hex()


def plain():
    yield "null", "null", None
    for value in (False, True):
        yield f"boolean {value}", "boolean", value
    for value in (0, -1, 1, 63, 64, -64, -65, 8191, 8192, *INT):
        yield f"int {value}", "int", value
    for value in (0, -1, 2**31, -(2**31) - 1, 2**53 + 1, *LONG):
        yield f"long {value}", "long", value
    for of, values in (("float", (0.0, -0.0, 1.5, -1.5, 3.4028234663852886e38, 1.401298464324817e-45)),
                       ("double", (0.0, -0.0, 1.5, 0.1, 1.7976931348623157e308, 5e-324))):
        for value in (*values, "NaN", "Infinity", "-Infinity"):
            yield f"{of} {value}", of, value
    for value in ("", "00", "00ff7f80", "61" * 200):
        yield f"bytes of {len(value) // 2}", "bytes", value
    for value in ("", "a", "Grüße, 世界 \U0001f980", "a\u0000b", "x" * 200):
        yield f"string of {len(value)}", "string", value
    yield "fixed", MD5, "000102030405060708090a0b0c0d0e0f"
    for value in SUIT["symbols"]:
        yield f"enum {value}", SUIT, value
    ints = {"type": "array", "items": "int"}
    for value in ([], [1], [1, -2, 3], list(range(200))):
        yield f"array of {len(value)}", ints, value
    yield "array of arrays", {"type": "array", "items": ints}, [[], [1, 2], [3]]
    longs = {"type": "map", "values": "long"}
    for value in ({}, {"a": 1}, {"b": 2, "a": 1, "": 3}):
        yield f"map of {len(value)}", longs, value
    yield "map of records", {"type": "map", "values": INNER}, {"x": {"id": 1}, "y": {"id": -1}}
    for name, union, values in (("optional", ["null", "string"], (None, {"string": "a"})),
                                ("optional, null last", ["string", "null"], (None, {"string": "a"})),
                                ("union of one", ["int"], ({"int": 7},)),
                                ("union", ["null", "int", "string", SUIT, INNER, {"type": "array", "items": "int"}], (
                                    None, {"int": 1}, {"string": "HEARTS"}, {"Suit": "HEARTS"}, {"Inner": {"id": 5}}, {"array": [1, 2]}))):
        for value in values:
            yield f"{name}: {value}", union, value
    yield "record without fields", {"type": "record", "name": "Empty", "fields": []}, {}
    yield "record", INNER, {"id": 300}
    record = {"head": 3, "tail": None}
    for head in (2, 1):
        record = {"head": head, "tail": {"golden.List": record}}
    yield "recursive record", LIST, record
    yield "one of each", ORDER, {
        "id": 1, "customer": "Ada", "paid": True, "note": {"string": "fragile"}, "suit": "CLUBS",
        "lines": [{"sku": "a-1", "count": 2, "price": twos(1999)}, {"sku": "b", "count": 1, "price": twos(-1)}],
        "tags": {"gift": "yes"}, "digest": "ff" * 16, "at": 1764111600123, "blob": "00"}


def logicals():
    for precision, scale, size, texts in ((4, 2, None, ("0.00", "1.27", "1.28", "-1.28", "-1.29", "99.99", "-99.99")),
                                          (9, 0, None, ("0", "255", "256", "-256", "999999999")),
                                          (38, 10, None, ("9999999999999999999999999999.9999999999", "-0.0000000001")),
                                          (100, 50, None, ("1" * 50 + "." + "2" * 50,)),
                                          (4, 2, 2, ("0.00", "99.99", "-99.99")),
                                          (20, 5, 9, ("1.00000", "-123456789012345.12345")),
                                          (38, 0, 16, ("9" * 38, "-" + "9" * 38))):
        for text in texts:
            unscaled = int(text.replace(".", ""))
            yield (f"decimal({precision}, {scale}) {'in ' + str(size) if size else 'in bytes'}: {text}",
                   decimal(precision, scale, size), twos(unscaled, size), Decimal(text), text)
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    for day in (date(1970, 1, 1), date(2026, 11, 25), date(1969, 12, 31), date(1, 1, 1), date(9999, 12, 31)):
        yield f"date {day}", logical("int", "date"), (day - epoch.date()).days, day, day.isoformat()
    for of, name, factor in (("int", "time-millis", 1000), ("long", "time-micros", 1)):
        for moment in (time(0, 0, 0), time(12, 34, 56, 789000), time(23, 59, 59, 999000)):
            micros = ((moment.hour * 60 + moment.minute) * 60 + moment.second) * 10**6 + moment.microsecond
            yield f"{name} {moment}", logical(of, name), micros // factor, moment, moment.isoformat("milliseconds")
    for moment in ("1970-01-01T00:00:00.000", "2026-11-25T12:34:56.789", "1969-12-31T23:59:59.999", "0001-01-01T00:00:00.000"):
        at = datetime.fromisoformat(moment)
        micros = (at.replace(tzinfo=timezone.utc) - epoch) // timedelta(microseconds=1)
        for unit, number in (("millis", micros // 1000), ("micros", micros), ("nanos", micros * 1000)):
            if abs(number) < 2**63:
                known = unit != "nanos"   # fastavro leaves nanoseconds as they are
                utc = at.replace(tzinfo=timezone.utc)
                yield f"timestamp-{unit} {moment}", logical("long", f"timestamp-{unit}"), number, utc if known else number, moment + "Z"
                yield f"local-timestamp-{unit} {moment}", logical("long", f"local-timestamp-{unit}"), number, at if known else number, moment
    uuid = UUID("6b0e6f6c-1d2f-4a3b-8c4d-5e6f708192a3")
    yield "uuid", logical("string", "uuid"), str(uuid), uuid, str(uuid)
    yield "uuid in fixed", {**MD5, "name": "U", "logicalType": "uuid"}, uuid.hex, uuid.bytes, str(uuid)
    months = b"".join(part.to_bytes(4, "little") for part in (1, 2, 3000))
    yield "duration", {"type": "fixed", "name": "Dur", "size": 12, "logicalType": "duration"}, months.hex(), months, "1 month 2 days 3000 ms"
    dates = ["null", logical("int", "date")]
    yield "optional date", dates, {"int": 20782}, date(2026, 11, 25), None
    yield "optional date, none", dates, None, None, None


def bare(schema):
    """The schema without its logical types."""
    if isinstance(schema, list):
        return [bare(one) for one in schema]
    if isinstance(schema, dict):
        return {key: bare(one) if key in ("type", "items", "values", "fields") else one
                for key, one in schema.items() if key not in ("logicalType", "precision", "scale")}
    return schema


def datum(schema, value, known):
    """The value as fastavro takes it."""
    if isinstance(schema, list):
        if value is None:
            return None
        (branch, inner), = value.items()
        return (branch, datum(next(one for one in schema if name(one, known) == branch), inner, known))
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind in known:
        return datum(known[kind], value, known)
    if kind in ("record", "enum", "fixed"):
        space = schema.get("namespace")
        known[schema["name"]] = known[f"{space}.{schema['name']}" if space else schema["name"]] = schema
    if kind == "record":
        return {field["name"]: datum(field["type"], value[field["name"]], known) for field in schema["fields"]}
    if kind == "array":
        return [datum(schema["items"], one, known) for one in value]
    if kind == "map":
        return {key: datum(schema["values"], one, known) for key, one in value.items()}
    if kind in ("bytes", "fixed"):
        return bytes.fromhex(value)
    if kind in ("float", "double"):
        return float(value)
    return datum(kind, value, known) if isinstance(kind, (dict, list)) else value


def name(schema, known):
    if isinstance(schema, str):
        of = known.get(schema)
        return name(of, known) if of else schema
    if schema["type"] not in ("record", "enum", "fixed"):
        return schema["type"] if isinstance(schema["type"], str) else name(schema["type"], known)
    return f"{schema['namespace']}.{schema['name']}" if "namespace" in schema else schema["name"]


def write(schema, value):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def wire(schema, value, expected):
    """As confluent-kafka's serializer writes it."""
    from confluent_kafka.schema_registry import SchemaRegistryClient, topic_subject_name_strategy
    from confluent_kafka.schema_registry.avro import AvroSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext
    serializer = AvroSerializer(SchemaRegistryClient.new_client({"url": "mock://"}), json.dumps(schema),
                                conf={"subject.name.strategy": topic_subject_name_strategy})
    made = serializer(value, SerializationContext("golden", MessageField.VALUE))
    # Of a schema that is bytes and nothing else, Confluent's serializers write the bytes themselves, without their length.
    expected = value if schema == "bytes" else expected
    assert made == b"\0\0\0\0\1" + expected, (schema, made.hex())
    return made.hex()


def make():
    for title, schema, value, *typed in [*plain(), *logicals()]:
        made = write(bare(schema), datum(schema, value, {}))
        line = {"name": title, "schema": schema, "value": value, "bytes": made.hex()}
        if typed:
            theirs = write(schema, typed[0])
            if theirs != made:
                # fastavro spends a byte more than Java on -128, -32768 and so on; who reads has to take both.
                assert title.startswith("decimal") and theirs[1:] == b"\xff" + made[1:], (title, made.hex(), theirs.hex())
                longer = {**line, "name": title + ", a byte longer", "value": "ff" + value, "bytes": theirs.hex(), "reads": typed[1]}
                print(json.dumps(longer, ensure_ascii=False))
            if typed[1] is not None:
                line["reads"] = typed[1]
        # Neither a null nor a union has a subject there; a lone decimal in bytes it cannot write.
        if not isinstance(schema, list) and schema != "null" and title[:7] != "decimal":
            line["wire"] = wire(schema, typed[0] if typed else given(schema, value), made)
        print(json.dumps(line, ensure_ascii=False))


def given(schema, value):
    """The value as a program has it."""
    tagged = datum(schema, value, {})
    if bare(schema) == schema:
        return tagged
    return fastavro.schemaless_reader(io.BytesIO(write(bare(schema), tagged)), fastavro.parse_schema(schema))


def verify(path):
    """Reads each line's bytes to their end; whether they are its value, Java says, which does not guess at unions."""
    count = 0
    for line in open(path, encoding="utf-8"):
        line = json.loads(line)
        # Logical types are left alone: Python's dates have fewer years and fewer digits than Avro's.
        source = io.BytesIO(bytes.fromhex(line["bytes"]))
        fastavro.schemaless_reader(source, fastavro.parse_schema(bare(line["schema"])))
        assert not source.read(), ("bytes left over", line)
        count += 1
    print(f"fastavro reads {count} values", file=sys.stderr)


make() if sys.argv[1:] == [] else verify(sys.argv[2])
