# Runs a program so that it outlives the worker that started it, and writes down how it ended:
# `sh outlive.sh FOLDER PROGRAM [ARGUMENT ...]`. See activities/launching.py.

exec 3>&2 2>/dev/null
# Signals are for the program. Traps are not inherited; ignored signals would be.
trap : HUP INT TERM
folder=$1
shift
echo $$ >"$folder/pid" || exit 125
# The shell's own, not the program's.
unset PWD OLDPWD SHLVL
(exec "$@" 2>&3 3>&-)
code=$?
# Over what stands there, without making the file anew: so there is room on a full disk too.
printf '%-3s\n' $code 1<>"$folder/exit"
exit $code
