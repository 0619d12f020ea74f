#!/bin/sh
# Ends whatever a test process has started, when that process is gone, however it went: its end of this
# script's standard input is then closed by the kernel. What it started is known by its working
# directory, which lies in the folder named as the first argument; process groups would not do, because
# Postgres gives each of its processes a session of its own.
folder=$1

ours() {
    find /proc -mindepth 2 -maxdepth 2 -path '/proc/[0-9]*/cwd' -lname "$folder/*" 2>/dev/null | cut -d/ -f3
}

cat >/dev/null

# Postgres is asked first: killed outright it would leave a System V shared memory segment behind.
for pid in $(ours); do
    if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = postgres ]; then
        kill -s CONT "$pid" 2>/dev/null
        kill -s QUIT "$pid" 2>/dev/null
        asked=yes
    fi
done
tries=20
while [ "$asked" = yes ] && [ "$tries" -gt 0 ] && ours | grep -q .; do
    tries=$((tries - 1))
    sleep 0.1
done

# Again until none is left, since a process may start another one meanwhile.
tries=50
while [ "$tries" -gt 0 ] && ours | grep -q .; do
    for pid in $(ours); do
        kill -s KILL "$pid" 2>/dev/null
    done
    tries=$((tries - 1))
    sleep 0.05
done
rm -rf "$folder"
