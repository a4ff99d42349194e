"""Orders as Confluent's own Avro serializers write and read them, by way of the embedded broker and registry.

serializers.py BROKERS REGISTRY_URL; says what it saw on one line each, for the test to compare.
"""
import sys
from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import ConfigCompatibilityLevel, Schema, SchemaReference, SchemaRegistryClient, ServerConfig
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

brokers, url = sys.argv[1:]
one = '{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "long"}]}'
two = '{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "long"}, {"name": "note", "type": "string", "default": "none"}]}'
bad = '{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}]}'
value = SerializationContext("orders", MessageField.VALUE)

producer = Producer({"bootstrap.servers": brokers})
for schema, order in [(one, {"id": 1}), (two, {"id": 2, "note": "ring twice"})]:
    producer.produce("orders", AvroSerializer(SchemaRegistryClient({"url": url}), schema)(order, value))
assert producer.flush(60) == 0

consumer = Consumer({"bootstrap.servers": brokers, "group.id": "python", "auto.offset.reset": "earliest"})
consumer.subscribe(["orders"])
read = AvroDeserializer(SchemaRegistryClient({"url": url}), two)
for _ in range(2):
    message = consumer.poll(60)
    assert message is not None and message.error() is None, message
    print("read", message.value()[:5].hex(), read(message.value(), value))
consumer.close()

client = SchemaRegistryClient({"url": url})
print("subjects", client.get_subjects(), client.get_versions("orders-value"))
latest = client.get_latest_version("orders-value")
print("latest", latest.schema_id, latest.version, latest.schema.schema_type)
print("lookup", client.lookup_schema("orders-value", Schema(one, "AVRO")).version)
print("same id", client.register_schema("elsewhere", Schema(two, "AVRO"), normalize_schemas=True))
print("compatible", client.test_compatibility("orders-value", Schema(two, "AVRO")), client.test_compatibility("orders-value", Schema(bad, "AVRO")))
try:
    AvroSerializer(client, bad)({"id": "x"}, value)
except Exception as refusal:
    cause = refusal if isinstance(refusal, SchemaRegistryError) else refusal.__cause__ or refusal
    print("refused", cause.http_status_code, cause.error_code, "string" in cause.error_message)
print("config", client.set_config("orders-value", ServerConfig(ConfigCompatibilityLevel.FULL))["compatibility"], client.get_config("orders-value").compatibility_level)
address = Schema('{"type": "record", "name": "Address", "fields": []}', "AVRO")
client.register_schema("address", address)
customer = Schema('{"type": "record", "name": "Customer", "fields": [{"name": "home", "type": "Address"}]}', "AVRO", [SchemaReference("Address", "address", 1)])
known = client.get_schema(client.register_schema("customer", customer))
print("references", [(to.name, to.subject, to.version) for to in known.references])
try:
    client.get_schema(99)
except SchemaRegistryError as refusal:
    print("unknown", refusal.http_status_code, refusal.error_code)
print("deleted", client.delete_version("orders-value", 2), client.delete_subject("orders-value"), client.delete_subject("orders-value", permanent=True))
