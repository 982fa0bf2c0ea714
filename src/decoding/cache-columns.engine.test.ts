/** Caches that keep values in columns, against those that keep them in rows, as exports of earlier versions do. */
import { expect, it } from 'vitest';
import { randomParameters, randomTokens } from '../../test/models/tiny-llama.ts';
import { chain, TokenTree } from '../attention/tree.ts';
import { describeCausalModel } from '../models/families/index.ts';
import { stepFormsOf } from '../models/graphs/step-forms.ts';
import { DecodingEngine } from './engine.ts';
import { decodeSession, encodeSession } from './state/session-file.ts';

const fingerprint = 'f'.repeat(64);
const tree = new TokenTree([-1, 0, 0, 1, 2, 4]);

it.each([
  ['two parts', 32],
  ['three parts', 48],
  ['no parts, of a width that 16 does not divide', 24],
])('caches of %s give the numbers of rows, and save the same session', async (_, width) => {
  const model = describeCausalModel({
    model_type: 'llama',
    vocab_size: 50,
    hidden_size: 32,
    intermediate_size: 48,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: width,
    max_position_embeddings: 256,
  });
  const parameters = randomParameters(model, 1);
  const rowForms = { ...stepFormsOf(), columns: false };
  await using inColumns = await DecodingEngine.create(model, parameters, { threads: 1 });
  await using inRows = await DecodingEngine.create(model, parameters, { threads: 1, forms: rowForms });
  expect(inColumns.layout.layers.map(({ values }) => values.parts)).toEqual(
    [0, 0].map(() => (width % 16 === 0 ? width / 16 : 1)),
  );
  const texts = [131, 70, 3].map((count, seed) => [...randomTokens(model, count, seed)]);
  const read = async (engine: DecodingEngine) => {
    const states = texts.map(() => engine.newState());
    for (const [i, text] of texts.entries()) await engine.prefill(states[i], text);
    const requests = states.map((state, i) => {
      const own = i === 1 ? tree : chain(1);
      return { state, tree: own, tokens: [...randomTokens(model, own.size, 9)], wanted: [own.size - 1] };
    });
    const outputs = await engine.step(requests);
    for (const [i, request] of requests.entries())
      await engine.commit(request, outputs[i], request.tree.pathTo(request.wanted[0]));
    return { states, logits: outputs.flatMap((output) => output.logits) };
  };
  const [columns, rows] = [await read(inColumns), await read(inRows)];
  for (const [i, row] of rows.logits.entries()) {
    row.forEach((x, at) => {
      expect(columns.logits[i][at]).toBeCloseTo(x, 4);
    });
  }
  const bytes = rows.states.map((state, i) => {
    const added = i === 1 ? 4 : 1;
    const tokens = [...texts[i], ...Array.from({ length: added }, () => 0)];
    return encodeSession({ state, tokens, fingerprint });
  });
  for (const saved of bytes) {
    const [ofColumns, ofRows] = await Promise.all(
      [inColumns, inRows].map((engine) => decodeSession(saved, engine, fingerprint)),
    );
    expect(encodeSession({ ...ofColumns, fingerprint })).toEqual(Buffer.from(saved));
    const [next, expected] = [await inColumns.advance(ofColumns.state, 7), await inRows.advance(ofRows.state, 7)];
    expected.logits.forEach((x, at) => {
      expect(next.logits[at]).toBeCloseTo(x, 4);
    });
  }
});
