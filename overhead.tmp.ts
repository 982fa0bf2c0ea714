const rounds = 25;
const V = await Promise.all(['/work/w-runner-before', process.argv[2] ?? '/work/w-runner'].map(async (f) => {
  const p = (file: string) => import(`${f}/src/${file}`);
  const load = await p('checkpoint/load-model.ts'); const engine = await p('decoding/engine.ts'); const generate = await p('engine/generate.ts'); const tok = await p('tokenizer/tokenizer.ts');
  const loaded = await load.loadCausalModel('/work/main/assets/tiny-llama');
  const e = await engine.DecodingEngine.create(loaded.model, loaded.parameters, { device: 'cpu', threads: 1 });
  const tokenizer = await tok.loadTokenizer('/work/main/assets/tiny-llama');
  const logits = Float32Array.from({ length: 512 }, (_, i) => Math.sin(i)); const hidden = new Float32Array(64);
  e.step = async (r: any[]) => r.map((q) => ({ logits: q.wanted.map(() => logits), hidden: q.wanted.map(() => hidden), rows: { committed: q.state.length } }));
  e.commit = async (r: any, _o: any, nodes: number[]) => { r.state.length += nodes.length; };
  return { e, generate, tokenizer };
}));
const run = async (v: any) => { const t = performance.now(); await v.generate.generateToEnd(v.e, { promptTokens: [1, 5, 9], maxTokens: 3000, ignoreEos: true, tokenizer: process.argv[3] ? undefined : v.tokenizer }); return ((performance.now() - t) / 3000) * 1000; };
const times: number[][] = [[], []];
for (let i = 0; i < rounds + 5; i++) for (const k of i % 2 ? [0, 1] : [1, 0]) { const t = await run(V[k]); if (i >= 5) times[k].push(t); }
const med = (a: number[]) => [...a].sort((x, y) => x - y)[a.length >> 1];
console.log('µs/token before', med(times[0]).toFixed(2), 'now', med(times[1]).toFixed(2), 'min', Math.min(...times[0]).toFixed(2), Math.min(...times[1]).toFixed(2));
process.exit(0);
