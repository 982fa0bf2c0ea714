/** `linnet merge`: a model and a low-rank adapter become one model. */
import { loadAdapter } from '../../checkpoint/adapter-files.ts';
import { openModelWeights, saveModel } from '../../checkpoint/load-model.ts';
import { mergedParameters } from '../../nn/lora.ts';
import { formatCount } from '../../report/quantities.ts';
import { defineCommand, required } from '../framework/command.ts';
import { folderPath } from '../framework/option-values.ts';
import { checkpointTypeOption, folderFor, folderOf, replaceOption } from '../options/model-options.ts';

export const merge = defineCommand({
  description:
    'Adds the low-rank updates of an adapter (a PEFT folder, or one from finetune --lora-save adapter) to ' +
    'the matrices of its base model, and saves the result as a plain Hugging Face folder.',
  examples: [
    'linnet merge runs/augmented runs/adapter --out runs/merged',
    'linnet merge llama-2-7b llama-2-7b-adapter --out runs/merged --dtype F16 --json',
  ],
  arguments: { model: folderOf('the model'), adapter: required(folderPath, 'folder of the adapter') },
  options: { out: folderFor('the merged model'), replace: replaceOption, dtype: checkpointTypeOption },
  async run(context, { model: folder, adapter: adapterFolder, out, replace, dtype }) {
    await using weights = await openModelWeights(folder);
    const { model, path: from, parameters } = weights;
    const base = { model, parameters: model.parameters, fingerprint: await weights.fingerprint() };
    const { lora, parameters: trained } = await loadAdapter(adapterFolder, base);
    const merged = mergedParameters(lora, trained, parameters);
    const { signal } = context;
    await saveModel(out, { model, parameters: merged }, { tokenizerFiles: { from }, dtype, replace, signal });
    const { rank, alpha, matrices } = lora;
    context.print(`saved ${out}: added updates of rank ${rank} to ${formatCount(matrices.size)} matrices`);
    return { json: { out, rank, alpha, matrices: matrices.size } };
  },
});
