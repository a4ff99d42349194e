#!/usr/bin/env bash
# kafka_tool.sh CLASS ARGUMENTS...: one of Kafka's own command line tools, for example
# kafka_tool.sh org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server localhost:9092 --topic shop.orders --from-beginning
set -euo pipefail
. "$(dirname "$0")/cache.sh"
kafka_libs
exec "$java" -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "$(printf '%s:' "$libs"/*.jar)" "$@"
