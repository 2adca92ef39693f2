#!/usr/bin/env python3
"""Follows the guides to the letter on three machines, each a real systemd as PID 1 over a fresh Debian 12
in namespaces of its own: poste (authorities, commander, operator), centre, commune.

   sudo deploy/package/try.py target/package/fanal_0.1.0_amd64.deb [--lang en]

Blocks of a guide that are run have a comment before them, which no reader sees:
   <!-- run: MACHINE -->          as root there       <!-- run: MACHINE as USER -->   as that account
   <!-- fails: MACHINE -->        must fail           <!-- write: MACHINE PATH -->    the block is that file
   <!-- wait: STATE -->           no block: until both daemons are in it (see `STATES`)
Prints a transcript; exit status 1 at the first thing that is not as told. Needs root, mmdebstrap (for the
first run the network too), iproute2, util-linux; where ffprobe is installed it looks at the picture."""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fanal-ci"
PACKAGES = "systemd,systemd-sysv,dbus,libpam-systemd,systemd-timesyncd,iproute2,procps,adduser,ca-certificates,kmod"
HOSTS = {"poste": "10.77.0.3", "centre": "10.77.0.2", "commune": "10.77.0.1"}
NAMES = "10.77.0.2 corg13.example\n10.77.0.1 fanal.berre.example\n"
CAMERAS = "10.0.0.11"
PATIENCE = 120
# Metrics of gateway and receiver and the value that both must have.
STATES = {
    "linked": ("fanal_gateway_link_up", "fanal_receiver_link_up", 1),
    "contradicted": ("fanal_gateway_journal_intact", "fanal_receiver_commune_journal_intact", 0),
    "released": ("fanal_gateway_grants_active", "fanal_receiver_grants_active", 0),
}

# What PID 1's namespace looks like before systemd starts: root, name.
INSIDE = r"""
set -eu
root=$1
mount --make-rprivate /
mount -t proc proc $root/proc
mount -t sysfs -o ro sysfs $root/sys
mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs $root/dev
for node in null zero full random urandom tty; do
  touch $root/dev/$node
  mount --bind /dev/$node $root/dev/$node
done
mkdir -p $root/dev/pts $root/dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts $root/dev/pts
ln -s pts/ptmx $root/dev/ptmx
ln -s /proc/self/fd $root/dev/fd
mount -t tmpfs tmpfs $root/dev/shm
mount -t tmpfs -o mode=755 tmpfs $root/run
mkdir -p $root/media/usb $root/old
mount --bind "$3" $root/media/usb
hostname $2
ip link set lo up
cd $root
pivot_root . old
umount -l /old
exec env -i container=fanal PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb /lib/systemd/systemd
"""


class Failed(Exception):
    """Something is not as told."""


def call(*command, **more):
    return subprocess.run([str(part) for part in command], check=True, **more)


def wait(what, condition):
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise Failed(f"{what}: not within {PATIENCE} s")
        time.sleep(0.2)


class Machine:
    """One booted Debian."""

    def __init__(self, name, base, work, shared, cgroups):
        self.name = name
        self.root = work / name / "root"
        self.cgroup = cgroups / f"fanal-try-{os.getpid()}-{name}"
        for part in ("upper", "work", "root"):
            (work / name / part).mkdir(parents=True)
        layers = f"lowerdir={base},upperdir={work / name / 'upper'},workdir={work / name / 'work'}"
        call("mount", "-t", "overlay", "overlay", "-o", layers, self.root)
        (self.root / "etc/hostname").write_text(f"{name}\n")
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost {name}\n{NAMES}")
        (self.root / "etc/machine-id").write_text("")
        self.cgroup.mkdir()

        def own():
            (self.cgroup / "cgroup.procs").write_text("0")

        spaces = "--mount --pid --fork --net --uts --ipc --cgroup --kill-child=KILL".split()
        self.boot = subprocess.Popen(
            ["unshare", *spaces, "bash", "-c", INSIDE, "try", self.root, name, shared],
            preexec_fn=own,
        )
        self.pid = 0

        def started():
            found = subprocess.run(
                ["pgrep", "-P", str(self.boot.pid)], stdout=subprocess.PIPE, text=True
            ).stdout.split()
            self.pid = int(found[0]) if found else 0
            return self.pid and Path(f"/proc/{self.pid}/comm").read_text() == "systemd\n"

        wait(f"{name}: systemd", started)
        call("ip", "link", "add", f"v-{name}", "type", "veth", "peer", "name", "eth0", "netns", self.pid)
        call("ip", "link", "set", f"v-{name}", "master", "fanal0", "up")
        for command in (f"addr add {HOSTS[name]}/24 dev eth0", "link set eth0 up"):
            call("nsenter", "-t", self.pid, "-n", "ip", *command.split())
        # A bus that answers, then a boot that is over.
        wait(f"{name}: its bus", lambda: self.run("systemctl is-system-running")[1].strip() in ("running", "starting", "degraded"))
        state = self.run("systemctl is-system-running --wait")[1].strip()
        if state != "running":
            raise Failed(f"{name} is {state}: {self.run('systemctl --failed --no-legend')[1]}")
        print(f"{name}: Debian {(base / 'etc/debian_version').read_text().strip()}, systemd runs")

    def run(self, script, user=None):
        """Runs it there; status and output."""
        command = ["nsenter", "-t", self.pid, "-m", "-p", "-n", "-u", "-i", "-C", "-r", "-w"]
        if user:
            command += ["setpriv", "--reuid", user, "--regid", user, "--init-groups"]
        home = f"/home/{user}" if user else "/root"
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        command += ["env", "-i", f"HOME={home}", f"PATH={path}", "TERM=dumb", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]
        command += ["bash", "-euo", "pipefail", "-c", f"cd {home}\n{script}"]
        done = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE * 2,
        )
        return done.returncode, done.stdout

    def must(self, script, user=None, fails=False):
        """Runs it there and shows both; it must succeed, or fail."""
        for line in script.splitlines():
            print(f"  {self.name}{'$' if user else '#'} {line}")
        status, output = self.run(script, user)
        for line in output.splitlines():
            print(f"    {line}")
        if (status != 0) != fails:
            raise Failed(f"{self.name}: exit status {status}")
        return output

    def stop(self):
        """Kills it with all that it started."""
        self.boot.kill()
        self.boot.wait()
        folders = [folder for folder, _, _ in os.walk(self.cgroup, topdown=False)]
        try:
            wait("its processes' end", lambda: "populated 0" in (self.cgroup / "cgroup.events").read_text())
            for folder in folders:
                os.rmdir(folder)
        except (Failed, OSError) as error:
            print(f"{self.cgroup} is left behind: {error}")


def blocks(text):
    """The marked blocks of a guide: (kind, machine, rest, text)."""
    mark = re.compile(r"<!-- (run|fails|write|wait): ([\w,]+)(?: (?:as )?(\S+))? -->$")
    lines = text.splitlines()
    for at, line in enumerate(lines):
        found = mark.match(line.strip())
        if not found:
            continue
        if found.group(1) == "wait":
            yield (*found.groups(), "")
            continue
        block = []
        for line in lines[at + 1 :]:
            if line.startswith("    "):
                block.append(line[4:])
            elif not line.strip():
                block.append("")
            else:
                break
        block = "\n".join(block).strip("\n") + "\n"
        if not block.strip():
            raise Failed(f"no block after {found.group(0)}")
        yield (*found.groups(), block)


def metric(machine, port, name):
    """The sum of a metric's series, or None where nobody answers."""
    read = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{port}/metrics').read().decode())"
    command = ["nsenter", "-t", str(machine.pid), "-n", sys.executable, "-c", read]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    lines = [line for line in done.stdout.splitlines() if re.match(rf"{name}[ {{]", line)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines) if lines else None


class Try:
    """What is tried on the machines."""

    def __init__(self, machines, language):
        self.machines = machines
        self.language = language

    def grant(self):
        """The newest grant of the operator's machine."""
        status, text = self.machines["poste"].run("cat authorities/grant.json")
        return json.loads(text) if status == 0 else {"grant": "GRANT"}

    def until(self, state):
        gateway, receiver, value = STATES[state]
        commune, centre = self.machines["commune"], self.machines["centre"]
        wait(state, lambda: metric(commune, 9998, gateway) == value and metric(centre, 9999, receiver) == value)

    def follow(self, name):
        paper = TREE / "deploy/guide" / f"{name}{'.fr' if self.language == 'fr' else ''}.md"
        print(f"\n=== {paper.relative_to(TREE)}", flush=True)
        found = list(blocks(paper.read_text()))
        if not found:
            raise Failed(f"{paper} has no block to run")
        for kind, names, rest, block in found:
            if kind == "wait":
                self.until(names)
                continue
            for machine in (self.machines[name] for name in names.split(",")):
                if kind == "write":
                    print(f"  {machine.name}: {rest}")
                    script = f"cat >{rest} <<'END-OF-FILE'\n{block}END-OF-FILE\n"
                    if machine.run(script)[0] != 0:
                        raise Failed(f"{rest} can't be written")
                else:
                    script = block.rstrip("\n").replace("GRANT", self.grant()["grant"])
                    machine.must(script, rest, fails=kind == "fails")
                    self.after(machine, script)

    def after(self, machine, script):
        """What a guide's reader sees without a command."""
        if machine.name == "commune" and script.startswith("apt install") and not self.has_cameras:
            # The guide's cameras are simulated, at the address that the guide has.
            self.has_cameras = True
            machine.must(
                f"ip addr add {CAMERAS}/32 dev lo\n"
                "echo Sesame-1! >/root/cameras.txt\n"
                f"systemd-run --quiet --unit=cameras fanal simulate --cameras 2 --listen {CAMERAS}:554 "
                "--sub-bitrate 500kbit/s --username fanal --password-file /root/cameras.txt"
            )
        if "fanal request" in script and "grant.json" in script:
            self.picture(self.grant()["granted"][0]["rtsp"])

    has_cameras = False

    def picture(self, url):
        """Plays the address as a player on the operator's machine does."""
        if shutil.which("ffprobe") is None:
            print("  skipped: ffprobe not found, nobody looks at the picture")
            return
        probe = f"nsenter -t {self.machines['poste'].pid} -n ffprobe -v error -rtsp_transport tcp -show_entries"
        hosts = url.replace("corg13.example", HOSTS["centre"])
        done = subprocess.run(
            [*probe.split(), "stream=codec_name,width", "-of", "csv=p=0", hosts],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE,
        )
        expect("the picture plays", done.returncode == 0 and "h264" in done.stdout, done.stdout)

    def all(self, package, work, shared):
        older_package = older(package, work)
        shutil.copy(older_package, shared / "fanal_older.deb")
        self.follow("start")
        self.units()
        self.reloads()
        self.desk()
        self.follow("drill")
        self.follow("lost-key")
        # The newer package is on the key from here on.
        (shared / "fanal_older.deb").unlink()
        shutil.copy(package, shared / "fanal_newer.deb")
        (self.machines["commune"].root / "srv/disk").mkdir()
        before = self.machines["commune"].run("dpkg-query -W fanal")[1]
        self.follow("keeping")
        print(f"  upgraded from {before.strip()}")

    def units(self):
        print("\n=== units")
        for name, unit in (("commune", "fanal-gateway"), ("centre", "fanal-receiver")):
            machine = self.machines[name]
            said = machine.run(f"systemd-analyze security --no-pager {unit} | tail -1")[1]
            found = re.search(r"([\d.]+) OK", said)
            expect(f"{unit}: exposure {found and found[1]}", found and float(found[1]) <= 1.5, said)
            shown = machine.run(f"systemctl show {unit} -p Documentation -p MemoryMax -p WatchdogUSec -p StatusText")[1]
            print("".join(f"    {line}\n" for line in shown.splitlines()), end="")
            expect(f"{unit}: documentation, memory limit, watchdog", "man:" in shown and "MemoryMax=infinity" not in shown and "WatchdogUSec=1min" in shown, shown)
            log = machine.run(f"journalctl --no-pager -u {unit} -p info -o cat | grep -c 'T..:..:..' || true")[1]
            expect(f"{unit}: no second time in the log", log.strip() == "0", log)

    def reloads(self):
        print("\n=== reload, good and bad")
        commune = self.machines["commune"]
        commune.must("systemctl reload fanal-gateway")
        bad = [
            ("a mistake in the file", "s/^commune = .*/commune = \"Not An Id\"/"),
            ("what the daemon alone refuses", "1i state_dir = \"/var/lib/fanal/other\""),
        ]
        for what, change in bad:
            commune.must(f"cp -p /etc/fanal/gateway.toml /root/good.toml\nsed -i '{change}' /etc/fanal/gateway.toml")
            commune.must("systemctl reload fanal-gateway", fails=True)
            log = commune.run("systemctl status --no-pager -n 20 fanal-gateway")[1]
            expect(f"{what}: the reload fails, the reason is in the status", "the old settings go on" in log or "the old ones go on" in log, log)
            expect(f"{what}: the daemon goes on", "Active: active" in log, log)
            commune.must("cp -p /root/good.toml /etc/fanal/gateway.toml\nsystemctl reload fanal-gateway")
        errors = commune.run("journalctl --no-pager -u fanal-gateway -p err -o cat")[1]
        expect("severities reach journald", "settings not reloaded" in errors, errors)

    def desk(self):
        print("\n=== the desk may cut and not read")
        commune = self.machines["commune"]
        commune.must("cat /etc/fanal/berre-l-etang.key", "anne", fails=True)
        commune.must("cat /etc/fanal/cameras.txt", "anne", fails=True)
        commune.must("ls /var/lib/fanal/journal", "anne", fails=True)
        commune.must("fanal relays", "anne")


def expect(what, good, detail=""):
    print(f"  {'ok' if good else 'NOT OK'}: {what}")
    if not good:
        raise Failed(f"{what}: {detail}")


def base():
    """A fresh Debian 12, made once."""
    kept = CACHE / f"debian-12-{abs(hash_of(PACKAGES))}"
    if not kept.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        making = kept.with_suffix(".new")
        shutil.rmtree(making, ignore_errors=True)
        call("mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", making)
        making.rename(kept)
    return kept


def hash_of(text):
    return int.from_bytes(text.encode(), "big") % 1_000_003


def older(package, work):
    """The same package under a lower version, to upgrade from."""
    tree = work / "older"
    call("dpkg-deb", "-R", package, tree)
    control = tree / "DEBIAN/control"
    text = re.sub(r"(?m)^Version: (.*)$", r"Version: \1~older", control.read_text())
    control.write_text(text)
    made = work / "older.deb"
    call("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "-b", tree, made, stdout=subprocess.DEVNULL)
    return made


def main():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    asked.add_argument("package", type=Path, help="fanal_VERSION_amd64.deb")
    asked.add_argument("--lang", choices=["fr", "en"], default="fr")
    args = asked.parse_args()
    if os.geteuid() != 0:
        sys.exit("try.py needs root")
    if os.environ.get("FANAL_TRY_INSIDE") is None:
        # Its bridge and mounts go with it.
        os.environ["FANAL_TRY_INSIDE"] = "1"
        base()
        inside = ["unshare", "--net", "--mount", "--propagation", "private"]
        os.execvp("unshare", [*inside, sys.executable, __file__, *sys.argv[1:]])
    call("ip", "link", "add", "fanal0", "type", "bridge")
    call("ip", "link", "set", "fanal0", "up")
    work = Path("/run/fanal-try")
    work.mkdir(exist_ok=True)
    call("mount", "-t", "tmpfs", "tmpfs", work)
    shared = work / "usb"
    shared.mkdir()
    cgroups = subprocess.run(
        ["findmnt", "-n", "-o", "TARGET", "-t", "cgroup2"], check=True, stdout=subprocess.PIPE, text=True
    )
    cgroups = Path(cgroups.stdout.splitlines()[0])
    machines = {}
    # The machines end with it, however it ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        for name in HOSTS:
            machines[name] = Machine(name, base(), work, shared, cgroups)
        Try(machines, args.lang).all(args.package, work, shared)
        print("\n=== all as told")
    except Failed as failed:
        print(f"\n=== NOT AS TOLD: {failed}", flush=True)
        for machine in machines.values():
            log = machine.run("journalctl --no-pager -n 30 -u 'fanal-*'")[1]
            print(f"--- {machine.name}\n{log}")
        sys.exit(1)
    finally:
        for machine in machines.values():
            machine.stop()


if __name__ == "__main__":
    main()
