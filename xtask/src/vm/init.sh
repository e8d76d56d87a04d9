#!/bin/busybox sh
# Init of a test kernel: mounts what programs expect, runs the tests, powers off.
# Kernel messages are on the first serial line, the tests' output is on the second, so that neither cuts the other's lines.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TMPDIR=/tmp TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
# A checkout that lies there is in the archive there, and would be hidden.
for place in /tmp /run; do
    mkdir -p "$place"
    case @FOLDER@/ in "$place"/*) chmod 1777 "$place" ;; *) mount -t tmpfs tmpfs "$place" ;; esac
done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
exec </dev/null >/dev/ttyS1 2>&1
stty -F /dev/ttyS1 -opost 2>/dev/null
hostname tracejob
ip link set lo up
# IPv6's loopback address is usable only once it is no longer tentative.
echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad 2>/dev/null
for controller in cpu memory pids; do echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null; done
# Before 5.11 maps are charged to this limit, and only whoever starts a tracer can raise it.
case "$(uname -r)" in 5.10.*) ulimit -l unlimited ;; esac

export TRACEJOB_BIN=/bin/tracejob
without=
skip=
for word in $(cat /proc/cmdline); do
    case "$word" in
        tracejob.capabilities=*) export TRACEJOB_TEST_CAPS="${word#*=}" ;;
        tracejob.kernel=*) export TRACEJOB_TEST_VM="${word#*=}" ;;
        tracejob.without=*) without="${word#*=}" ;;
        tracejob.skip=*) for name in $(echo "${word#*=}" | tr , ' '); do skip="$skip --skip $name"; done ;;
    esac
done
echo "kernel $(uname -r), perf_event_paranoid $(cat /proc/sys/kernel/perf_event_paranoid), memlock $(ulimit -l)"
mkdir -p @FOLDER@
cd @FOLDER@ || exit

status=0
# For @REPORT_TIME@.
export @UNSTABLE@
# run TEST: its tests side by side, because each waits for most of its time, and then those in modules `alone`.
run() {
    case ",$without," in *,"$1",*) return 0 ;; esac
    set -- "$1" @ARGS@
    if [ $# = 1 ]; then
        part "$1" --test-threads=3 --skip alone:: $skip
        set -- "$1" alone::
    fi
    part "$@" --test-threads=1 $skip
}
# part TEST ARGS
part() {
    echo "@BEGIN@ $1"
    ended=0
    "/tests/$@" --show-output --logfile=/run/results @REPORT_TIME@ || ended=$?
    echo "@END@ $1 $ended"
    # An emulated machine stands still now and then: a failed test runs once more by itself, and the report names it.
    failed=$(sed -n 's/^failed \([^ ]*\).*/\1/p' /run/results)
    [ "$ended" = 0 ] || [ -n "$failed" ] || status=1
    count=0
    for test in $failed; do
        count=$((count + 1))
        again=1
        if [ "$count" -le @RETRIES@ ]; then
            again=0
            echo "@AGAIN@ $test"
            "/tests/$1" --show-output --exact "$test" || again=$?
            echo "@AGAIN_END@ $test $again"
        fi
        [ "$again" = 0 ] || status=1
    done
}
if ! grep -q tracejob.probe /proc/cmdline; then
:
@RUNS@
fi
echo "@FINISHED@ $status"
sync
poweroff -f
