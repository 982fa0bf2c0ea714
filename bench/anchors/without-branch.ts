/**
 * Removes one branch from a converted model's mixers and keeps the weights: for comparisons with and without it.
 *
 *   npx tsx bench/anchors/without-branch.ts MODEL OUT [memory]
 */
import { branches } from '../../src/attention/mixers.ts';
import { loadCausalModel, saveModel } from '../../src/checkpoint/load-model.ts';
import { modelWithout } from '../../src/models/linearization/linearize.ts';

const [from, to, name = 'memory'] = process.argv.slice(2);
const branch = branches.find((one) => one === name);
if (to === undefined || branch === undefined) throw new Error(`give MODEL OUT and one of ${branches.join(', ')}`);
const { model: whole, parameters: all } = await loadCausalModel(from);
const model = modelWithout(whole, branch);
const parameters = new Map([...all].filter(([parameter]) => model.parameters.has(parameter)));
await saveModel(to, { model, parameters }, { tokenizerFiles: { from } });
