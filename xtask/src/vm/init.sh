#!/bin/busybox sh
# The guest's first process: a host, a server in a namespace of its own, a tunnel between them, the sensor on the host;
# then every way to send, under every owner source that this kernel should have.
# Lines for the runner begin with "vm:".
/bin/busybox --install -s /bin
export PATH=/bin:/peers
# The shell takes its own applet for a bare `ip`, and that one makes no veth pair.
ip=/peers/ip
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t debugfs debugfs /sys/kernel/debug
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
echo "vm:booted $(uname -r)"

for module in /modules/*; do
  insmod "$module" || echo "vm:note insmod $module failed"
done
mkdir -p /dev/net
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200

$ip link set lo up
$ip netns add internet
$ip link add eth0 type veth peer name eth0 netns internet
$ip addr add 10.53.0.2/24 dev eth0
$ip link set eth0 up
$ip route add default via 10.53.0.1
$ip netns exec internet $ip addr add 10.53.0.1/24 dev eth0
$ip netns exec internet $ip link set eth0 up
$ip addr add fd53::2/64 dev eth0 nodad
$ip netns exec internet $ip addr add fd53::1/64 dev eth0 nodad
$ip netns exec internet $ip link set lo up

earthdog doctor 2>&1 | sed 's/^/doctor: /'

# Every program passes this kernel's verifier, and the hooks that the default host view does not use attach.
load-programs >/tmp/load 2>&1
echo "vm:load $?"
sed 's/^/load: /' /tmp/load
earthdog run --role gateway --interface eth0 --xdp-mode tcx --duration 1 --output json >/dev/null 2>/tmp/gateway
echo "vm:gateway $?"
sed 's/^/sensor: /' /tmp/gateway

earthdog run --output json >/tmp/findings 2>/tmp/log &
sensor=$!
for _ in $(seq 60); do
  grep -q watching /tmp/log && break
  kill -0 $sensor 2>/dev/null || break
  sleep 0.5
done
sed 's/^/sensor: /' /tmp/log

$ip netns exec internet iodined -f -c -P vm 10.54.0.1/27 t.vm.example >/tmp/iodined 2>&1 &
tunnel_server=$!
iodine -f -r -P vm 10.53.0.1 t.vm.example >/tmp/iodine 2>&1 &
tunnel=$!
for _ in $(seq 60); do
  $ip addr show dev dns0 2>/dev/null | grep -q 10.54.0 && break
  sleep 0.5
done
$ip addr show dev dns0 | grep -q 10.54.0 && echo "vm:tunnel"
$ip netns exec internet nc -l -p 9 >/dev/null &
dd if=/dev/urandom bs=1k count=256 2>/dev/null | nc 10.54.0.1 9 >/dev/null &
for _ in $(seq 90); do
  [ -s /tmp/findings ] && break
  kill -0 $sensor 2>/dev/null || { echo "vm:note the sensor ended"; break; }
  sleep 1
done
kill -TERM $sensor
wait $sensor
echo "vm:exit $?"
sed 's/^/vm:finding /' /tmp/findings
sed 's/^/sensor: /' /tmp/log
sed 's/^/iodine: /' /tmp/iodine
kill $tunnel $tunnel_server
wait $tunnel $tunnel_server

# The senders' server needs the real `ip`, by PATH.
PATH=/peers:/bin truth --here 10.53.0.1 fd53::1 eth0 internet $(cat /etc/truth) >/tmp/truth 2>&1
echo "vm:truth $?"
sed 's/^/truth: /' /tmp/truth
if [ -e /etc/costs ]; then
  owner-cost --here --sensor /bin/earthdog >/tmp/cost 2>&1
  echo "vm:cost $?"
  sed 's/^/cost: /' /tmp/cost
fi
echo "vm:end"
poweroff -f
