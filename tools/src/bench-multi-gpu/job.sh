#!/bin/bash
# Everything that two GPUs are asked, each part in processes of its own with a limit: a part that fails costs no other.
# NODE: the program; SHAPE=1b|tiny; PARTS: which of them; GPUS; OUT: where traces and logs stay.
cd "$(dirname "$0")" || exit 1
: "${NODE:=node}" "${SHAPE:=1b}" "${GPUS:=2}" "${PARTS:=check rates peer layouts realloc ppo}" "${OUT:=$PWD/out}" "${PRECISION:=f16}"
export NCCL_NVLS_ENABLE=0
mkdir -p "$OUT"
work=$(mktemp -d "${WORK:-/tmp}/multi-gpu-XXXXXX")
trap 'rm -rf "$work"' EXIT
began=$SECONDS

# ranks LIMIT PROGRAM ARGUMENTS…: one process a GPU; prints what they print, and the end of the errors of one that fails.
ranks() {
  local limit=$1 program=$2 r pids=()
  shift 2
  local names
  names=$(mktemp -d "$work/names-XXXXXX")
  for ((r = 0; r < GPUS; r++)); do
    RANK=$r SIZE=$GPUS NAMES=$names timeout -k 5 "$limit" "$NODE" "dist/$program.mjs" "$@" 2>"$names/errors.$r" &
    pids+=($!)
  done
  for ((r = 0; r < GPUS; r++)); do
    wait "${pids[$r]}" || {
      echo "$program: rank $r ended with $?"
      tail -n 5 "$names/errors.$r" | cut -c1-400
    }
  done
}

part() {
  case " $PARTS " in *" $1 "*) echo "== $1 (at $((SECONDS - began)) s)" ;; *) return 1 ;; esac
}

# ppo NAME OPTIONS…: PPO of four models from one directory.
ppo() {
  local name=$1
  shift
  local roles=() role
  for role in actor critic ref rew; do roles+=("$role.path=lm"); done
  roles+=(actor.gradient_checkpointing=false critic.gradient_checkpointing=false critic.init_critic_from_actor=true rew.init_critic_from_actor=true)
  local run=$work/ppo/real-runs/bench/$name
  # The checkpoint at the end is not what is measured: the run is ended after its last step.
  (
    cd "$work/ppo" || exit 1
    "$NODE" "$app/dist/main.mjs" ppo experiment_name=bench "trial_name=$name" \
      "n_gpus_per_node=$GPUS" "matmul_precision=$PRECISION" "${roles[@]}" dataset.path=prompts.jsonl \
      "dataset.train_bs_n_seqs=${BATCH:-64}" "dataset.max_prompt_len=${PROMPT:-256}" "ppo.gen.max_new_tokens=${NEW:-256}" \
      "ppo.gen.min_new_tokens=${NEW:-256}" ppo.gen.top_p=1 "ppo.gen.top_k=${TOP_K:-32000}" ppo.ppo_n_minibatches=4 \
      "exp_ctrl.benchmark_steps=${STEPS:-3}" "$@" >"$OUT/$name.out" 2>&1 &
    local real=$! until=$((SECONDS + ${PPO_LIMIT:-110}))
    while [ "$(cat "$run/metrics.jsonl" 2>/dev/null | wc -l)" -lt "${STEPS:-3}" ] && [ $SECONDS -lt $until ] && kill -0 $real 2>/dev/null; do sleep 0.2; done
    sleep 0.5
    kill -9 $real 2>/dev/null
    wait $real 2>/dev/null
  )
  [ -f "$run/trace.json" ] || { echo "ppo $name failed"; tail -n 6 "$OUT/$name.out" | cut -c1-400; tail -n 3 "$run"/logs/*.log 2>/dev/null | cut -c1-300; }
  cp "$run/trace.json" "$OUT/$name.trace.json" 2>/dev/null
  grep -h 'tensors' "$run"/logs/model_worker-0.log | tail -n 1 | cut -c1-200
  [ -f "$run/trace.json" ] && "$NODE" dist/ppo-table.mjs "$run"
}

app=$PWD
[ -n "$QUIET" ] || nvidia-smi --query-gpu=name,uuid,driver_version --format=csv,noheader 2>/dev/null

if part check; then
  mapfile -t uuids < <(nvidia-smi --query-gpu=uuid --format=csv,noheader 2>/dev/null)
  names=$(mktemp -d "$work/names-XXXXXX")
  for ((r = 0; r < GPUS; r++)); do
    env GROUPS=1 RANK=$r SIZE="$GPUS" NAMES="$names" ${uuids[$r]:+GPU=${uuids[$r]}} timeout -k 5 60 "$NODE" dist/check.mjs 2>&1 | tail -n 3 &
  done
  wait
fi
part rates && ranks 90 rates
part peer && timeout -k 5 90 python3 peer.py 2>&1 | grep -v -i warn | tail -n 12
part layouts && ranks 120 layouts --shape "$SHAPE" --precision "$PRECISION"
part realloc && ranks 120 realloc --shape "$SHAPE"
part ppo && {
  mkdir -p "$work/ppo"
  timeout 90 "$NODE" dist/ppo-inputs.mjs "$work/ppo" "$SHAPE" $((${BATCH:-64} * ${STEPS:-3})) "${PROMPT:-256}" && du -sh "$work/ppo"
  echo "weights at $((SECONDS - began)) s"
  ppo symmetric "allocation_mode=d${GPUS}m1p1"
  echo "at $((SECONDS - began)) s"
  ppo heuristic allocation_mode=heuristic
  echo "at $((SECONDS - began)) s"
  # Both generate; then the actor's side works on the first GPU while the critic's does on the second.
  local_calls=(allocation_mode=manual)
  for call in ref_inf actor_train; do local_calls+=("$call.device_mesh=NODE01:0"); done
  for call in rew_inf critic_inf critic_train; do local_calls+=("$call.device_mesh=NODE01:1"); done
  ppo manual "${local_calls[@]}" actor_gen.device_mesh=NODE01:0,1 actor_gen.parallel.data_parallel_size=2
  echo "at $((SECONDS - began)) s"
}
echo "== end (at $((SECONDS - began)) s)"
exit 0
