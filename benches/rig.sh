#!/bin/sh
# Everything that is to be known of a machine with a GPU, in one command, with the program `stele` alone.
#
#   benches/rig.sh OUT [STELE]
#
# OUT is a directory for the results (JSON, HTML, logs; made if it is not there). STELE is the program; by default the one on
# the path. RIG_QUICK=1 measures each thing for a tenth of the time. RIG_ADAPTER=NAME takes an adapter by name, a software
# one too. Each step has a time limit; one that fails or runs out of time is noted in OUT/steps.txt and the next one begins.
# The exit status is the number of steps that did not end well. Nothing of the machine's settings is changed.
#
# The whole takes about 25 minutes. The first steps are the ones that say most, so that an early end loses least.
set -u

out=${1:?usage: rig.sh OUT [STELE]}
stele=${2:-stele}
seconds=1; long=2; devnet_seconds=20
if [ "${RIG_QUICK:-}" ]; then seconds=0.1; long=0.2; devnet_seconds=4; fi
adapter=
if [ "${RIG_ADAPTER:-}" ]; then adapter="--adapter=$RIG_ADAPTER"; fi

mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd) || exit 1
command -v "$stele" >/dev/null || { echo "no program $stele" >&2; exit 1; }
steps=$out/steps.txt
: >"$steps"
failed=0

# Joules of all processor packages so far, in microjoules; nothing where they are not readable.
joules() {
    cat /sys/class/powercap/intel-rapl:?/energy_uj 2>/dev/null | awk '{ sum += $1 } END { if (NR) printf "%.0f", sum }'
}

# Power of the GPU, for the steps that do not read it themselves.
if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=timestamp,power.draw,utilization.gpu,clocks.sm,temperature.gpu --format=csv --loop=1 \
        >"$out/power.csv" 2>/dev/null &
    trap "kill $! 2>/dev/null" EXIT
    trap 'exit 1' INT TERM
fi

# step LIMIT_SECONDS NAME COMMAND...: its output in OUT/NAME.log.
step() {
    limit=$1; name=$2; shift 2
    printf '%s  %s ... ' "$(date -u +%H:%M:%S)" "$name"
    began=$(date +%s); energy=$(joules)
    timeout -k 10 "$limit" "$@" >"$out/$name.log" 2>"$out/$name.err"
    status=$?
    took=$(($(date +%s) - began))
    case $status in
        0) word=ok ;;
        124 | 137) word="over its limit of $limit s" ;;
        *) word="failed ($status): $(grep -v '^$' "$out/$name.err" | tail -n 1 | cut -c 1-160)" ;;
    esac
    if [ "$status" -ne 0 ]; then failed=$((failed + 1)); fi
    used="CPU energy not readable"
    if [ "$energy" ]; then used="CPU $(($(joules) - energy)) uJ"; fi
    echo "$word, $took s"
    echo "$name: $word, $took s, began $(date -u -d "@$began" +%H:%M:%S), $used" >>"$steps"
}

# bench NAME LIMIT ARGUMENTS...: a report in OUT/NAME.
bench() {
    name=$1; limit=$2; shift 2
    # shellcheck disable=SC2086 # an adapter is one word or none
    step "$limit" "$name" "$stele" bench "$@" --report "$out/$name" $adapter
}

# What the machine is, and whether its engines answer rightly: everything else depends on it.
step 30 machine sh -c 'date -u; uname -a; lscpu; free -b; nvidia-smi 2>&1; nvidia-smi -q 2>&1 | head -n 200; true'
step 240 hw "$stele" hw --json --self-test

# The figures: messages of 200 bytes, a million distinct keys, 0, 1 and 50 % invalid, host to host.
sizes=1,256,1024,4096,16896,65536,262144
for invalid in 0 1 50; do
    bench "figures-$invalid" 420 verify --skip-start --engine gpu --alg ed25519,sm2 --batch 16896,262144,1048576 --keys 1000000 \
        --message-bytes 200 --invalid "$invalid" --seconds "$long"
done
# The whole picture, both engines: what the page is for.
bench verify 600 verify --batch $sizes --message-bytes 47 --seconds "$seconds" --peers
# The card's multiplications, against which the rates above are read.
# shellcheck disable=SC2086
step 120 ceiling "$stele" bench ceiling $adapter

# Tuning: items of a launch, launches in flight, known keys and new ones.
for slot in 4096 16896 65536 262144; do
    bench "slot-$slot" 180 verify --skip-start --engine gpu --alg ed25519,sm2 --batch 1048576 --slot-items "$slot" --keys 65536 \
        --seconds "$seconds"
done
for slots in 1 2 4 8; do
    bench "slots-$slots" 120 verify --skip-start --engine gpu --alg ed25519,sm2 --batch 262144 --slots "$slots" --keys 65536 \
        --seconds "$seconds"
done
bench keys-known 150 verify --skip-start --engine gpu --batch 16896,262144 --keys 65536 --key-cache 131072 --seconds "$seconds"
bench keys-new 240 verify --skip-start --engine gpu --batch 16896,262144 --keys 524288 --key-cache 65536 --seconds "$seconds"

# With the CPU busy: when the GPU pays for a validator whose cores execute.
bench busy 420 verify --skip-start --alg ed25519,sm2 --batch $sizes --busy --seconds "$seconds"
bench hash 300 hash --leaves 1024,16384,131072,1048576,16777216 --peers --seconds "$seconds"

# The whole node, GPU on and off, on as many threads of verification as there are cores to a validator.
threads=$(($(nproc) / 4)); if [ "$threads" -lt 1 ]; then threads=1; fi
for algorithm in sm2-sm3 ed25519; do
    for rate in 10000 max; do
        for gpu in require forbid; do
            name=devnet-$algorithm-$rate-$gpu
            chosen=
            if [ $gpu = require ] && [ "${RIG_ADAPTER:-}" ]; then chosen="--gpu-adapter=$RIG_ADAPTER"; fi
            # shellcheck disable=SC2086 # an adapter is one word or none
            step 180 "$name" "$stele" devnet --algorithm $algorithm --rate $rate --signer soft --gpu $gpu $chosen \
                --verify-threads "$threads" --seconds "$devnet_seconds" --json "$out/$name.json"
        done
    done
done

echo
cat "$steps"
echo "$failed steps did not end well; results are in $out"
exit "$failed"
