/** GGUF files behind a URL, for browsers: the header and then tensor after tensor are read by ranges, and stay in their codes. */
import { readGgufHeader } from '../checkpoint/gguf/header.ts';
import { modelOf } from '../checkpoint/gguf/model.ts';
import { endTexts, templateTexts, tokenizerParts } from '../checkpoint/gguf/tokenizers.ts';
import { compileDecoding } from '../decoding/compile-decoding.ts';
import { StepEngine } from '../decoding/step-engine.ts';
import { LinnetError } from '../errors.ts';
import { describeModel, requireModelKind } from '../models/families/index.ts';
import { mtpStepModel } from '../models/graphs/mtp-graph.ts';
import type { CausalModel } from '../models/model.ts';
import { storedParameters } from '../quantization/sources.ts';
import type { WeightReader } from '../quantization/weight-reader.ts';
import { compileForWeb } from '../runtime/web-compile.ts';
import { findChatTemplate } from '../tokenizer/chat-template-sources.ts';
import { huggingFaceTokenizer } from '../tokenizer/hugging-face.ts';
import type { WebOpenOptions } from './fetch-options.ts';
import { LanguageModel } from './language-model.ts';
import { rangedFile } from './ranged-file.ts';
import { sha256Of } from './remote-folder.ts';
import { webSessionFiles } from './session-folder.ts';

/**
 * Opens the model of a GGUF file, whole in one file; its tensors are read when its engine is made.
 * @throws LinnetError as `rangedFile`, `readGgufHeader` and `modelOf`; `CONFIG` for several files that are one model, and for one that
 *   does not continue texts
 */
export async function openGgufUrl(url: URL, options: WebOpenOptions): Promise<LanguageModel> {
  const { device = 'wasm', threads, engineFiles } = options;
  const origin = url.href;
  const file = await rangedFile(url, options);
  const header = await readGgufHeader(file.source, { arrays: false, sought: endTexts });
  if (Number(header.metadata.get('split.count') ?? 1) > 1) {
    throw new LinnetError(
      'CONFIG',
      `${origin} is one of several files, but pages load only one: merge them with llama-gguf-split`,
    );
  }
  const { config, weights } = await modelOf(header, [file], origin);
  const model = requireModelKind(describeModel(config), 'causal', () => `${origin} does not continue texts`);
  const stored = new Map(weights.names().map((name) => [model.parameterName(name) ?? name, name]));
  const inFile = (name: string): string => stored.get(name) ?? name;
  const reader: WeightReader = {
    read: (name) => weights.readFloat32(inFile(name)),
    codes: (name) => weights.codes(inFile(name)),
  };
  const { metadata } = await readGgufHeader(file.source);
  const { json } = tokenizerParts(metadata, origin);
  const tokenizerJson = json.get('tokenizer.json');
  const tokenizer =
    tokenizerJson &&
    huggingFaceTokenizer({
      tokenizerJson,
      tokenizerConfigJson: json.get('tokenizer_config.json'),
      modelConfigJson: config,
      origin,
    });
  const text = templateTexts(metadata).get('default');
  const template = {
    nameOf: () => `the template of ${origin}`,
    read: (name: string) =>
      Promise.resolve(
        name === 'chat_template.jinja' && text !== undefined ? new TextEncoder().encode(text) : undefined,
      ),
  };
  const engineOf = async (described: CausalModel): Promise<StepEngine> =>
    new StepEngine(
      ...(await compileDecoding(
        described,
        (graph) => storedParameters('stored', graph, reader),
        (graph) => compileForWeb(graph, { device, threads, engineFiles }),
        device,
      )),
    );
  const mtp = mtpStepModel(model, [...stored.keys()]);
  const fingerprint = await sha256Of(new TextEncoder().encode(JSON.stringify([file.version, model.toJson()])));
  return new LanguageModel(model, {
    origin,
    fingerprint,
    tokenizer,
    template: tokenizer && (await findChatTemplate(template, tokenizer)),
    sessionFiles: webSessionFiles(fingerprint),
    engine: () => engineOf(model),
    mtp: mtp && (() => engineOf(mtp)),
  });
}
