# Sourced by the scripts beside it: where downloads are kept, and how a missing tool is reported.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${AQUEDUCT_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/aqueduct}
mkdir -p "$cache/bin"
kafka_version=4.3.0
libs=${KAFKA_LIBS:-$cache/kafka-$kafka_version/libs}
java=${JAVA:-java}

need() {   # tool, what it is for, how to get it
  command -v "$1" > /dev/null && return
  echo "$(basename "$0"): $1 is missing, needed for $2: $3" >&2
  exit 1
}

# Runs a function while no other process runs one under the same name: many tests start servers at once.
alone() {
  local name=$1; shift
  ( flock 9; "$@" ) 9> "$cache/$name.lock"
}

kafka_libs() {   # the broker's and the console tools' jars, from Maven Central
  need "$java" "Kafka" "apt-get install openjdk-17-jre-headless"
  [ -s "$libs/kafka-tools-$kafka_version.jar" ] && [ -s "$libs/slf4j-simple-1.7.36.jar" ] && return
  need mvn "downloading Kafka" "apt-get install maven"
  alone kafka mvn -q -B -Dstyle.color=never -f "$here/pom-kafka.xml" dependency:copy-dependencies -DoutputDirectory="$libs" < /dev/null
}

go_tool() {   # name of the binary, package, version; sets $tool
  tool=$cache/bin/$1-$3
  [ -x "$tool" ] && return
  need go "building $1" "Go 1.21 or newer"
  alone "$1" build_go_tool "$@"
}

build_go_tool() {
  [ -x "$tool" ] && return
  local bin; bin=$(mktemp -d "$cache/bin/.build.XXXXXX")
  GOBIN=$bin go install "$2@$3" < /dev/null
  mv "$bin"/* "$tool"
  rmdir "$bin"
}

tcp_open() { (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }   # port
