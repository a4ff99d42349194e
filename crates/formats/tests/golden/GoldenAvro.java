// Reads Avro with Java's own library: in each line of a file, the bytes are its value, and the value those bytes; a line
// without a value is read and written again.

import com.fasterxml.jackson.databind.*;
import com.fasterxml.jackson.databind.node.*;
import java.io.*;
import java.math.*;
import java.nio.*;
import java.nio.file.*;
import java.time.*;
import java.util.*;
import org.apache.avro.*;
import org.apache.avro.data.TimeConversions;
import org.apache.avro.generic.*;
import org.apache.avro.io.*;

class GoldenAvro {
    static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        check(Path.of(arguments[0]));
    }

    static void check(Path file) throws Exception {
        int count = 0, logical = 0;
        for (String text : Files.readAllLines(file)) {
            JsonNode line = JSON.readTree(text);
            Schema schema = new Schema.Parser().parse(line.get("schema").toString());
            byte[] bytes = HexFormat.of().parseHex(line.get("bytes").asText());
            Object datum = read(new GenericData(), schema, bytes);
            byte[] again = write(new GenericData(), schema, datum);
            // Java forgets the order of a map's entries when it reads them.
            if (again.length != bytes.length || !Objects.equals(read(new GenericData(), schema, again), datum)) same(text, bytes, again);
            if (line.has("value")) {
                JsonNode value = JSON.readTree(line.get("value").toString()), found = JSON.readTree(shown(schema, datum).toString());
                if (!found.equals(value)) throw new AssertionError(text + "\nJava reads " + found);
                same(text, bytes, write(new GenericData(), schema, datum(schema, value)));
            }
            if (line.has("reads") && !text.contains("duration")) {
                logical++;
                Object read = read(logical(), schema, bytes), said = said(read, line.get("reads").asText());
                if (!read.equals(said)) throw new AssertionError(text + "\nJava reads " + read);
                if (!text.contains("a byte longer")) same(text, bytes, write(logical(), schema, said));
            }
            count++;
        }
        System.err.println("Java reads " + count + " values and writes the same bytes, " + logical + " of them by their logical types");
    }

    static void same(String line, byte[] expected, byte[] found) {
        if (!Arrays.equals(expected, found)) throw new AssertionError(line + "\nJava writes " + HexFormat.of().formatHex(found));
    }

    static Object read(GenericData data, Schema schema, byte[] bytes) throws IOException {
        BinaryDecoder decoder = DecoderFactory.get().binaryDecoder(bytes, null);
        Object datum = new GenericDatumReader<>(schema, schema, data).read(null, decoder);
        if (!decoder.isEnd()) throw new AssertionError("bytes left over: " + HexFormat.of().formatHex(bytes));
        return datum;
    }

    static byte[] write(GenericData data, Schema schema, Object datum) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        BinaryEncoder encoder = EncoderFactory.get().directBinaryEncoder(out, null);
        new GenericDatumWriter<>(schema, data).write(datum, encoder);
        encoder.flush();
        return out.toByteArray();
    }

    static GenericData logical() {
        GenericData data = new GenericData();
        for (Conversion<?> conversion : List.of(new Conversions.DecimalConversion(), new Conversions.UUIDConversion(),
                new TimeConversions.DateConversion(), new TimeConversions.TimeMillisConversion(), new TimeConversions.TimeMicrosConversion(),
                new TimeConversions.TimestampMillisConversion(), new TimeConversions.TimestampMicrosConversion(), new TimeConversions.TimestampNanosConversion(),
                new TimeConversions.LocalTimestampMillisConversion(), new TimeConversions.LocalTimestampMicrosConversion(), new TimeConversions.LocalTimestampNanosConversion()))
            data.addLogicalTypeConversion(conversion);
        return data;
    }

    /** What people write, as what Java has for it. */
    static Object said(Object like, String text) {
        if (like instanceof BigDecimal) return new BigDecimal(text);
        if (like instanceof UUID) return UUID.fromString(text);
        if (like instanceof LocalDate) return LocalDate.parse(text);
        if (like instanceof LocalTime) return LocalTime.parse(text);
        if (like instanceof Instant) return Instant.parse(text);
        return LocalDateTime.parse(text);
    }

    static byte[] bytes(Object datum) {
        if (datum instanceof GenericFixed) return ((GenericFixed) datum).bytes();
        ByteBuffer buffer = ((ByteBuffer) datum).duplicate();
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        return bytes;
    }

    /** A datum as the lines show it. */
    static JsonNode shown(Schema schema, Object datum) {
        JsonNodeFactory make = JsonNodeFactory.instance;
        switch (schema.getType()) {
            case NULL: return make.nullNode();
            case BOOLEAN: return make.booleanNode((Boolean) datum);
            case INT: return make.numberNode((Integer) datum);
            case LONG: return make.numberNode((Long) datum);
            case FLOAT: case DOUBLE:
                double number = ((Number) datum).doubleValue();
                return Double.isNaN(number) || Double.isInfinite(number) ? make.textNode("" + number) : make.numberNode(number);
            case BYTES: case FIXED: return make.textNode(HexFormat.of().formatHex(bytes(datum)));
            case ARRAY:
                ArrayNode items = make.arrayNode();
                for (Object item : (Collection<?>) datum) items.add(shown(schema.getElementType(), item));
                return items;
            case MAP:
                ObjectNode entries = make.objectNode();
                ((Map<?, ?>) datum).forEach((key, value) -> entries.set(key.toString(), shown(schema.getValueType(), value)));
                return entries;
            case RECORD:
                ObjectNode fields = make.objectNode();
                for (var field : schema.getFields()) fields.set(field.name(), shown(field.schema(), ((GenericRecord) datum).get(field.pos())));
                return fields;
            case UNION:
                var branch = schema.getTypes().get(GenericData.get().resolveUnion(schema, datum));
                return datum == null ? make.nullNode() : make.objectNode().set(branch.getFullName(), shown(branch, datum));
            default: return make.textNode(datum.toString());
        }
    }

    /** The other way. */
    static Object datum(Schema schema, JsonNode value) {
        switch (schema.getType()) {
            case NULL: return null;
            case BOOLEAN: return value.asBoolean();
            case INT: return value.asInt();
            case LONG: return value.asLong();
            case FLOAT: return Float.valueOf(value.asText());
            case DOUBLE: return Double.valueOf(value.asText());
            case BYTES: return ByteBuffer.wrap(HexFormat.of().parseHex(value.asText()));
            case FIXED: return new GenericData.Fixed(schema, HexFormat.of().parseHex(value.asText()));
            case ENUM: return new GenericData.EnumSymbol(schema, value.asText());
            case ARRAY:
                List<Object> items = new ArrayList<>();
                value.forEach(item -> items.add(datum(schema.getElementType(), item)));
                return items;
            case MAP:
                Map<String, Object> entries = new LinkedHashMap<>();
                value.properties().forEach(entry -> entries.put(entry.getKey(), datum(schema.getValueType(), entry.getValue())));
                return entries;
            case RECORD:
                GenericRecord record = new GenericData.Record(schema);
                for (var field : schema.getFields()) record.put(field.pos(), datum(field.schema(), value.get(field.name())));
                return record;
            case UNION:
                if (value.isNull()) return null;
                var tagged = value.properties().iterator().next();
                for (var branch : schema.getTypes()) if (branch.getFullName().equals(tagged.getKey())) return datum(branch, tagged.getValue());
                throw new AssertionError("no branch " + tagged.getKey());
            default: return value.asText();
        }
    }
}
