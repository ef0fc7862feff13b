# Stands in for a coding agent: works as many seconds as its prompt says, line by line.
set -eu
read -r seconds || true
echo "$BRANCHWORK_STEP started" >>"$CRASH_DEMO_LEDGER"
for second in $(seq "${seconds:-2}"); do
	sleep 1
	echo "line $second of $BRANCHWORK_STEP" | tee -a "$BRANCHWORK_STEP.txt"
done
echo "$BRANCHWORK_STEP ended" >>"$CRASH_DEMO_LEDGER"
