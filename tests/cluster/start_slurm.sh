#!/usr/bin/env bash
# A SLURM of one node on this machine, for the tests: munged, slurmctld and slurmd on loopback, without root's help or cgroups.
#   eval "$(tests/cluster/start_slurm.sh FOLDER)"      sets SLURM_CONF; state, logs and process ids lie in FOLDER
#   tests/cluster/start_slurm.sh --stop FOLDER
# Debian: apt-get install --no-install-recommends slurmctld slurmd slurm-client munge
set -euo pipefail
PATH=$PATH:/usr/sbin

stop() { for file in "$1"/{slurmd,slurmctld,munged}.pid; do [ ! -s "$file" ] || kill "$(cat "$file")" 2>/dev/null || true; done; }

if [ "$1" = --stop ]; then stop "$2"; exit; fi

mkdir -p "$1"/{state,spool}
folder=$(cd "$1" && pwd)
chmod 755 "$folder" # munge refuses a socket below folders that others may write to
node=$(hostname -s)
cpus=$(nproc)

( umask 077; head -c 1024 /dev/urandom >"$folder/munge.key" )
cat >"$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=${SLURMCTLD_PORT:-16817}
SlurmdPort=${SLURMD_PORT:-16818}
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=cred_expire=5,socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
JobRequeue=1
ReturnToService=2
MpiDefault=none
KillWait=5
AccountingStorageType=accounting_storage/none
NodeName=$node NodeAddr=127.0.0.1 CPUs=$cpus State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF

munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munged.seed" >&2
export SLURM_CONF=$folder/slurm.conf
slurmctld >&2
slurmd >&2
for _ in $(seq 30); do
    if [ "$(sinfo --noheader --format=%t 2>/dev/null)" = idle ]; then
        echo "export SLURM_CONF=$SLURM_CONF"
        exit
    fi
    sleep 1
done
echo "SLURM did not start: see $folder/*.log" >&2
stop "$folder"
exit 1
