// Writes what Kafka's JsonConverter makes of Connect's types, as connect_json.jsonl: `name`; `schema`, as the envelope has it;
// `with_schema`, the envelope, exactly as text; `without_schema`, the same with schemas.enable=false; `numeric` and
// `numeric_with_schema`, with decimal.format=NUMERIC, where that differs. A `*` in a name: Kafka does not read back what it was.

import com.fasterxml.jackson.databind.*;
import com.fasterxml.jackson.databind.node.*;
import java.math.*;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.*;
import org.apache.kafka.connect.data.*;
import org.apache.kafka.connect.data.Date;
import org.apache.kafka.connect.json.JsonConverter;

class GoldenConnect {
    static final ObjectMapper JSON = new ObjectMapper();

    static JsonConverter converter(boolean schemas, String decimals) {
        JsonConverter converter = new JsonConverter();
        converter.configure(Map.of("schemas.enable", "" + schemas, "decimal.format", decimals, "converter.type", "value"));
        return converter;
    }

    static void line(String name, Schema schema, Object value) throws Exception {
        String with = text(converter(true, "BASE64").fromConnectData("t", schema, value));
        String without = text(converter(false, "BASE64").fromConnectData("t", schema, value));
        String numeric = text(converter(false, "NUMERIC").fromConnectData("t", schema, value));
        ObjectNode line = JSON.createObjectNode().put("name", name);
        String schemaText = schema == null ? null : converter(true, "BASE64").asJsonSchema(schema).toString();
        line.put("schema", schemaText).put("with_schema", with).put("without_schema", without);
        if (!Objects.equals(without, numeric)) {
            line.put("numeric", numeric).put("numeric_with_schema", text(converter(true, "NUMERIC").fromConnectData("t", schema, value)));
        }
        // It reads what it wrote.
        SchemaAndValue again = converter(true, "BASE64").toConnectData("t", with == null ? null : with.getBytes(StandardCharsets.UTF_8));
        if (!again.equals(new SchemaAndValue(schema, value)) && !name.contains("*")) throw new AssertionError(name + ": " + with + " is read as " + again);
        System.out.println(JSON.writeValueAsString(line));
    }

    static String text(byte[] bytes) {
        return bytes == null ? null : new String(bytes, StandardCharsets.UTF_8);
    }

    public static void main(String[] arguments) throws Exception {
        line("boolean", Schema.BOOLEAN_SCHEMA, true);
        for (byte value : new byte[] {0, Byte.MIN_VALUE, Byte.MAX_VALUE}) line("int8 " + value, Schema.INT8_SCHEMA, value);
        for (short value : new short[] {0, Short.MIN_VALUE, Short.MAX_VALUE}) line("int16 " + value, Schema.INT16_SCHEMA, value);
        for (int value : new int[] {0, Integer.MIN_VALUE, Integer.MAX_VALUE}) line("int32 " + value, Schema.INT32_SCHEMA, value);
        for (long value : new long[] {0, Long.MIN_VALUE, Long.MAX_VALUE, (1L << 53) + 1}) line("int64 " + value, Schema.INT64_SCHEMA, value);
        for (float value : new float[] {0f, 1.5f, 0.1f, 16777216f, Float.MAX_VALUE, Float.MIN_VALUE}) line("float32 " + value, Schema.FLOAT32_SCHEMA, value);
        for (double value : new double[] {0d, 1.5, 0.1, 100d, 1e7, 1e21, 1e-7, Double.MAX_VALUE, Double.MIN_VALUE}) line("float64 " + value, Schema.FLOAT64_SCHEMA, value);
        line("* float32 -0.0", Schema.FLOAT32_SCHEMA, -0f);   // read as 0.0
        line("* float64 -0.0", Schema.FLOAT64_SCHEMA, -0d);
        // Written as text, which it does not read again.
        for (double value : new double[] {Double.NaN, Double.POSITIVE_INFINITY, Double.NEGATIVE_INFINITY}) line("* float64 " + value, Schema.FLOAT64_SCHEMA, value);
        line("* float32 NaN", Schema.FLOAT32_SCHEMA, Float.NaN);
        for (String value : new String[] {"", "a", "Grüße, 世界 \uD83E\uDD80", "quote \" backslash \\ slash / tab \t line \n null \u0000 \u001f \u007f \u2028"})
            line("string " + value.length(), Schema.STRING_SCHEMA, value);
        for (int length : new int[] {0, 1, 2, 3, 80}) {
            byte[] bytes = new byte[length];
            for (int index = 0; index < length; index++) bytes[index] = (byte) (250 + index);
            line("* bytes " + length, Schema.BYTES_SCHEMA, bytes);   // arrays are not equal to each other
        }
        for (String value : new String[] {"0.00", "1.27", "1.28", "-1.28", "-1.29", "12345678901234567890123456789.12", "0.10"})
            line("decimal " + value, Decimal.schema(2), new BigDecimal(value));
        line("decimal without a scale", Decimal.schema(0), new BigDecimal("1234567890"));
        line("decimal with a negative scale", Decimal.schema(-3), new BigDecimal(BigInteger.valueOf(12), -3));
        line("decimal with a precision", Decimal.builder(4).parameter("connect.decimal.precision", "10").build(), new BigDecimal("-0.0001"));
        java.util.Date day = java.util.Date.from(Instant.parse("2026-11-25T00:00:00Z")), before = java.util.Date.from(Instant.parse("1969-12-31T00:00:00Z"));
        line("date", Date.SCHEMA, day);
        line("date before 1970", Date.SCHEMA, before);
        line("time", Time.SCHEMA, java.util.Date.from(Instant.parse("1970-01-01T12:34:56.789Z")));
        line("timestamp", Timestamp.SCHEMA, java.util.Date.from(Instant.parse("2026-11-25T12:34:56.789Z")));
        line("timestamp before 1970", Timestamp.SCHEMA, java.util.Date.from(Instant.parse("1969-12-31T23:59:59.999Z")));
        line("optional", Schema.OPTIONAL_INT32_SCHEMA, 7);
        line("optional, none", Schema.OPTIONAL_INT32_SCHEMA, null);
        line("optional timestamp, none", Timestamp.builder().optional().build(), null);
        var fallback = SchemaBuilder.int32().defaultValue(5).build();
        line("default, given", fallback, 7);
        line("* default, none", fallback, null);   // the default is written
        line("* optional default, none", SchemaBuilder.string().optional().defaultValue("d").build(), null);
        line("described", SchemaBuilder.string().name("shop.Sku").version(3).doc("what is sold").parameter("unit", "piece").build(), "a-1");
        var ints = SchemaBuilder.array(Schema.INT32_SCHEMA).build();
        line("array", ints, List.of(1, 2, 3));
        line("array, empty", ints, List.of());
        line("array of optional", SchemaBuilder.array(Schema.OPTIONAL_STRING_SCHEMA).build(), Arrays.asList("a", null));
        var byName = new LinkedHashMap<String, Integer>();
        byName.put("b", 2);
        byName.put("a", 1);
        line("map by text", SchemaBuilder.map(Schema.STRING_SCHEMA, Schema.INT32_SCHEMA).build(), byName);
        var byNumber = new LinkedHashMap<Integer, String>();
        byNumber.put(2, "b");
        byNumber.put(1, "a");
        line("map by number", SchemaBuilder.map(Schema.INT32_SCHEMA, Schema.STRING_SCHEMA).build(), byNumber);
        line("map, empty", SchemaBuilder.map(Schema.STRING_SCHEMA, Schema.INT32_SCHEMA).build(), Map.of());
        var item = SchemaBuilder.struct().name("shop.Line").field("sku", Schema.STRING_SCHEMA).field("price", Decimal.schema(2)).build();
        var order = SchemaBuilder.struct().name("shop.Order").version(1).doc("one of each")
            .field("id", Schema.INT64_SCHEMA)
            .field("paid", Schema.BOOLEAN_SCHEMA)
            .field("note", Schema.OPTIONAL_STRING_SCHEMA)
            .field("source", SchemaBuilder.string().defaultValue("web").build())
            .field("at", Timestamp.SCHEMA)
            .field("due", Date.builder().optional().build())
            .field("discount", Decimal.builder(3).optional().build())
            .field("lines", SchemaBuilder.array(item).build())
            .field("tags", SchemaBuilder.map(Schema.STRING_SCHEMA, Schema.STRING_SCHEMA).optional().build())
            .build();
        Struct sold = new Struct(item).put("sku", "a-1").put("price", new BigDecimal("19.99"));
        line("one of each", order, new Struct(order).put("id", 1L).put("paid", true).put("note", "fragile").put("source", "shop")
            .put("at", java.util.Date.from(Instant.parse("2026-11-25T12:34:56.789Z"))).put("due", day).put("discount", new BigDecimal("-0.125"))
            .put("lines", List.of(sold, sold)).put("tags", Map.of("gift", "yes")));
        line("one of each, mostly empty", order, new Struct(order).put("id", 2L).put("paid", false).put("source", "web")
            .put("at", java.util.Date.from(Instant.EPOCH)).put("lines", List.of()));
        line("struct without fields", SchemaBuilder.struct().build(), new Struct(SchemaBuilder.struct().build()));
        line("* null without a schema", null, null);
        line("* text without a schema", null, "a");
        line("* map without a schema", null, new LinkedHashMap<>(Map.of("a", 1L)));
    }
}
