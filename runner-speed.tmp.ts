/** Before against now, in one process and in turn. */
import { readFileSync } from 'node:fs';
const folders = [process.argv[5] ?? '/work/w-runner-before', process.argv[2] ?? '/work/w-runner'];
const what = process.argv[3] ?? 'one';
const rounds = Number(process.argv[4] ?? 15);
const V = await Promise.all(folders.map(async (f) => {
  const p = (file: string) => import(`${f}/src/${file}`);
  const load = await p('checkpoint/load-model.ts');
  const engine = await p('decoding/engine.ts');
  const generate = await p('engine/generate.ts');
  const tok = await p('tokenizer/tokenizer.ts');
  const runner = await p('engine/runner.ts').catch(() => undefined);
  const sched = await p('engine/scheduler/scheduler.ts').catch(() => undefined);
  const svc = await p('engine/text/text-service.ts').catch(() => undefined);
  const lin = await p('models/linearization/linearize-by-name.ts');
  const loaded = await load.loadCausalModel('/work/main/assets/tiny-llama');
  const augmented = lin.linearizeByName(loaded.model, loaded.parameters, 'augmented', {});
  const e = await engine.DecodingEngine.create(augmented.model, augmented.parameters, { device: 'cpu', threads: 2 });
  const tokenizer = await tok.loadTokenizer('/work/main/assets/tiny-llama');
  return { f, engine: e, generate, runner, sched, svc, tokenizer, cpx: await p('engine/text/prefix-cache.ts') };
}));
type Vn = (typeof V)[number];
const prompt = (n: number, seed: number) => Array.from({ length: n }, (_, i) => 1 + ((i * 7919 + seed * 104729) % 400));
async function one(v: Vn) {
  const t = performance.now();
  await v.generate.generateToEnd(v.engine, { promptTokens: prompt(16, 1), maxTokens: 200, ignoreEos: true, tokenizer: v.tokenizer });
  return performance.now() - t;
}
async function prefill(v: Vn) {
  const t = performance.now();
  await v.generate.generateToEnd(v.engine, { promptTokens: prompt(2048, 1), maxTokens: 1, ignoreEos: true });
  return performance.now() - t;
}
const model = (v: Vn) => ({ engine: v.engine, tokenizer: v.tokenizer, name: 'x' });
async function streams(v: Vn, n: number, len: number, max: number, cacheBytes: number, seed: number) {
  const t0 = performance.now();
  let all: AsyncIterable<any>[];
  const ids = Array.from({ length: n }, (_, i) => prompt(len, i + seed));
  if (v.runner) {
    const r = new v.runner.Runner(v.engine, { tokenizer: v.tokenizer, parallel: 16, prefixes: cacheBytes ? new v.cpx.PrefixCache(cacheBytes) : undefined });
    all = ids.map((tokens) => r.submit({ prompt: { tokens }, maxTokens: max, ignoreEos: true, sampling: { temperature: 0, seed: 0 }, signal: new AbortController().signal }));
  } else {
    const s = new v.sched.Scheduler(v.engine, { parallel: 16 });
    const svc = new v.svc.TextService(model(v), s, { cacheBytes });
    all = ids.map((p) => svc.start({ key: '', salt: '', prompt: p, maxTokens: max, n: 1, sampling: { temperature: 0, seed: 0 }, stop: [], stopIds: [], ignoreEos: true, scorePrompt: false, signal: new AbortController().signal }));
  }
  await Promise.all(all.map(async (events) => { for await (const _ of events); }));
  return performance.now() - t0;
}
let seed = 0;
const cases: Record<string, (v: Vn) => Promise<number>> = {
  one, prefill,
  streams: (v) => streams(v, 16, 24, 100, 0, 0),
  cached: (v) => streams(v, 16, 24, 100, 1 << 28, 0),
  prefills: (v) => streams(v, 16, 300, 1, 1 << 28, 0),
};
for (const name of what.split(',')) {
  const times: number[][] = [[], []];
  for (let i = 0; i < rounds + 2; i++) for (const k of i % 2 ? [0, 1] : [1, 0]) {
    const t = await cases[name](V[k]);
    if (i >= 2) times[k].push(t);
  }
  const med = (a: number[]) => [...a].sort((x, y) => x - y)[a.length >> 1];
  const mins = times.map((a) => Math.min(...a));
  console.log(name, 'before', med(times[0]).toFixed(1), 'now', med(times[1]).toFixed(1), 'ratio now/before', (med(times[1]) / med(times[0])).toFixed(4), 'of minima', (mins[1] / mins[0]).toFixed(4));
}
for (const v of V) await v.engine.dispose();
