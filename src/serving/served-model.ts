/** A model as a server knows it: engine, tokenizer, chat template, names. */
import { readChatTemplate } from '../tokenizer/chat-template-files.ts';
import { openChatTemplate } from '../tokenizer/chat-template-sources.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import { LinnetError } from '../errors.ts';
import { openDecodingModel, openGeneratingModel } from '../export/open-model.ts';
import type { NamedModel, TextModel } from '../engine/text-model.ts';
import { elementCount } from '../graph/tensor.ts';
import type { ModelDescription } from '../models/model.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import { TokenPieces } from '../engine/text/token-pieces.ts';

/** How a model is served. */
export interface ServedModelOptions extends CompileOptions {
  readonly name: string;
  /** Whether it may be a model that reads a text and writes another. Default false. */
  readonly readsTexts?: boolean;
  /** A template instead of that of the model folder. */
  readonly chatTemplate?: string;
}

/**
 * Opens a folder, exported or not, with a causal model and its tokenizer.
 * @throws LinnetError as `openDecodingModel` and `loadTokenizer`, `FORMAT` for a template that cannot be parsed
 */
export async function openServedModel(
  folder: string,
  { name, chatTemplate, readsTexts = false, ...compile }: ServedModelOptions,
): Promise<TextModel> {
  const opened = readsTexts ? await openGeneratingModel(folder, compile) : await openDecodingModel(folder, compile);
  try {
    const { tokenizer, ...named } = await describeServed(name, opened.path, opened.model);
    return {
      ...{ ...named, tokenizer },
      engine: opened.engine,
      template: (chatTemplate === undefined
        ? await readChatTemplate(opened.path, tokenizer)
        : await openChatTemplate(chatTemplate, tokenizer, '--chat-template')
      )?.check(),
      fingerprint: opened.fingerprint,
      [Symbol.asyncDispose]: () => opened.engine.dispose(),
    };
  } catch (error) {
    await opened.engine.dispose();
    throw error;
  }
}

/**
 * What is known of a model whatever it does.
 * @throws LinnetError as `loadTokenizer`, `MISMATCH` for a tokenizer with more tokens than the model has
 */
export async function describeServed(
  name: string,
  folder: string,
  { sizes: { vocabulary }, parameters }: Pick<ModelDescription, 'sizes' | 'parameters'>,
): Promise<Omit<NamedModel, 'fingerprint' | 'template'>> {
  const tokenizer = await loadTokenizer(folder);
  if (tokenizer.vocabularySize > vocabulary) {
    throw new LinnetError(
      'MISMATCH',
      `the tokenizer of ${folder} has ${tokenizer.vocabularySize} tokens, the model ${vocabulary}`,
    );
  }
  const created = Math.floor(Date.now() / 1000);
  const parameterCount = [...parameters.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0);
  return { name, created, vocabulary, parameterCount, tokenizer, pieces: new TokenPieces(tokenizer) };
}
