#!/bin/sh
# One turn under a lock, which checks by itself that it is alone and that its token is the largest.
#
#     cotter lock PATH -- sh turn.sh TRACK NAME HOLD
#
# HOLD is how long the turn takes, in seconds, or "forever": then the command and a companion in its
# process group go on until they are killed, deaf to TERM.
#
# TRACK is a directory shared by all who want the lock. Only the lock protects what is in it:
#     busy        a symbolic link to the process id of whoever has its turn
#     companion   the process id of its companion
#     last-token  the token of the newest turn
#     journal     a line for each begin and each end: WORD SECONDS TOKEN PROCESS NAME
#     violations  a line for everything that must not be
track=$1 name=$2 hold=$3

violation() {
    echo "$name with token $COTTER_TOKEN $*" >> "$track/violations"
}

lives() {
    read -r stat 2> /dev/null < "/proc/$1/stat" || return 1
    case "${stat##*) }" in
        [ZX]*) return 1 ;;
    esac
}

write() {
    read -r seconds rest < /proc/uptime
    echo "$1 $seconds $COTTER_TOKEN $$ $name" >> "$track/journal"
}

# Making the link fails if it exists, and is one act, its contents included.
if ! ln -s "$$" "$track/busy" 2> /dev/null; then
    other=$(readlink "$track/busy")
    # Without a link there, the other has ended its turn just now: it was no longer alone either.
    if [ -z "$other" ] || lives "$other"; then
        violation "runs beside ${other:-somebody}"
    fi
    ln -sfn "$$" "$track/busy"
fi
if read -r companion 2> /dev/null < "$track/companion" && lives "$companion"; then
    violation "runs beside the companion $companion"
fi

last=0
[ -s "$track/last-token" ] && read -r last < "$track/last-token"
[ "$COTTER_TOKEN" -gt "$last" ] || violation "comes after token $last"
echo "$COTTER_TOKEN" > "$track/last-token"
write begin

if [ "$hold" = forever ]; then
    trap '' TERM
    sh -c 'while :; do sleep 1; done' &
    echo "$!" > "$track/companion"
    echo up > "$track/up"
    while :; do sleep 1; done
fi
sleep "$hold"
write end
rm "$track/busy"
