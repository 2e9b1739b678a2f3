#!/bin/sh
# A wrapper of rustc: counts the branches of what decodes, and not of the rest, since libFuzzer looks at every counter after
# every input, and large crates take long to build with them. Called by cargo as `instrument.sh RUSTC ARGUMENTS…`.
rustc=$1
shift
name=
for argument in "$@"; do
    if [ "$last" = --crate-name ]; then
        name=$argument
        break
    fi
    last=$argument
done
case $name in
stepwell* | arrow_data | arrow_ipc | flatbuffers | flate2 | parquet | serde_json | sqlparser)
    case " $* " in
    # Without a target it is for a build script.
    *" --target "*)
        exec "$rustc" "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 \
            -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
            -Cllvm-args=-sanitizer-coverage-trace-compares
        ;;
    esac
    ;;
esac
exec "$rustc" "$@"
