/** Opens an exported model by its URL and streams what it generates. Everything of Linnet is in `modelOf` and `write`. */
import { CacheStorageWeights, LinnetError, type EncoderDecoder, type LanguageModel, open } from 'linnet/web';

function element<E extends Element>(selector: string, type: new () => E): E {
  const found = document.querySelector(selector);
  if (found instanceof type) return found;
  throw new Error(`the page has no ${selector}`);
}

const form = element('form', HTMLFormElement);
const stop = element('button[name=stop]', HTMLButtonElement);
const start = element('button[name=start]', HTMLButtonElement);
const bar = element('progress', HTMLProgressElement);
const text = element('#text', HTMLPreElement);
const status = element('#status', HTMLOutputElement);

type Writer = LanguageModel | EncoderDecoder;
let opened: { key: string; model: Writer } | undefined;

/** Opens a model, or takes the one that is open already. */
async function modelOf(url: string, device: string, signal: AbortSignal): Promise<Writer> {
  const key = `${device} ${url}`;
  if (opened?.key === key) return opened.model;
  await opened?.model.dispose();
  opened = undefined;
  const model = await open(url, {
    kind: ['causal', 'encoder-decoder'],
    ...(device === 'wasm' || device === 'webgpu' ? { device } : {}),
    signal,
    cache: new CacheStorageWeights(),
    onProgress({ file, done, total }) {
      bar.value = done / total;
      status.value =
        file === undefined ? 'compiling' : `${file}: ${(done / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
    },
  });
  opened = { key, model };
  return model;
}

async function write(data: FormData, signal: AbortSignal): Promise<void> {
  const field = (name: string): string => {
    const value = data.get(name);
    return typeof value === 'string' ? value : '';
  };
  const model = await modelOf(field('url'), field('device'), signal);
  const prompt = field('prompt');
  // T5 reads the prompt and generates another text; other models continue it.
  text.textContent = model.kind === 'causal' ? prompt : '';
  const generated = model.generate(prompt, {
    maxTokens: Number(field('tokens')),
    temperature: Number(field('temperature')),
    seed: Math.floor(Math.random() * 2 ** 32),
    signal,
    onEvent(event) {
      if (event.type === 'prompt') status.value = `prompt: ${event.done} of ${event.total} tokens`;
    },
  });
  for await (const piece of generated) text.textContent += piece;
  const { tokens, tokensPerSecond, state, finish } = generated.generation;
  status.value =
    `${tokens.length} tokens (${finish}), ${tokensPerSecond.toFixed(1)} per second; ` +
    `the state has ${state.bytes} bytes after ${state.length} tokens` +
    (crossOriginIsolated ? '' : '; one thread, since the page is not cross-origin isolated');
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  const controller = new AbortController();
  stop.onclick = () => controller.abort();
  status.value = '';
  start.disabled = true;
  stop.disabled = false;
  write(new FormData(form), controller.signal)
    .catch((error: unknown) => {
      status.value = error instanceof LinnetError ? `${error.code}: ${error.message}` : String(error);
    })
    .finally(() => {
      start.disabled = false;
      stop.disabled = true;
    });
});
