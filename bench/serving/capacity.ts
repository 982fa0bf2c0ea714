/**
 * Sessions and streams that machines hold, computed from one machine's measurements: the table in docs/scale.md.
 *
 *   npx tsx bench/serving/capacity.ts [state KiB, default 4229] [tokens/s of one core with a full batch, default 18]
 *     [tokens/s that a stream wants, default 5] [share of sessions that write, default 0.01] [cores and GiB a machine, 16 64]
 */
const given = process.argv.slice(2).map(Number);
const [stateKiB = 4229, perCore = 18, wanted = 5, active = 0.01, cores = 16, gib = 64] = given;

/** Share of a machine's memory for warm sessions; weights, activations and the system take the rest. */
const warmShare = 0.5;

process.stdout.write(
  '| machines | warm sessions | streams at once | users, so many of them writing | Redis for the users, GiB |\n',
);
process.stdout.write('|---|---|---|---|---|\n');
for (const machines of [1, 2, 4, 10, 30, 100]) {
  const warm = Math.floor((machines * gib * warmShare * 2 ** 20) / stateKiB);
  const streams = Math.floor((machines * cores * perCore) / wanted);
  const users = Math.floor(streams / active);
  const redis = (users * stateKiB) / 2 ** 20;
  process.stdout.write(`| ${[machines, warm, streams, users, redis.toFixed(0)].join(' | ')} |\n`);
}
