/** `linnet download`: fetches a model or data set from the Hugging Face hub, or resumes an interrupted download. */
import { defaultDatasetFolder, defaultModelFolder, type TransferOptions } from '../../checkpoint/hub/hub.ts';
import { type HubPlace, hubPlace, includedFiles } from '../../open/model-names.ts';
import { formatBytes, formatCount } from '../../report/quantities.ts';
import { defineCommand, flag, optional, repeated, required } from '../framework/command.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { called, folderPath, text } from '../framework/option-values.ts';
import { announced, endpointOption, hubOf } from '../options/hub-options.ts';

export const download = defineCommand({
  description:
    'Fetches the configuration, tokenizer and safetensors weights of one commit of a model from the Hugging Face hub, or the GGUF file that --include ' +
    'names, and verifies every digest the hub publishes. The folder appears once it is complete. Ctrl-C keeps what has arrived; the same command ' +
    'resumes. Makes no request if the commit is already there. With --dataset, fetches the rows of a data set (.parquet, .jsonl, .csv, .tsv), all of ' +
    'them or by configuration and split, into the folder where eval tasks --data data finds them, next to earlier downloads. For private and gated ' +
    'models, set HF_TOKEN to an access token; HF_ENDPOINT names another hub.',
  examples: [
    'linnet download HuggingFaceTB/SmolLM2-135M --out runs/smollm',
    'linnet download HuggingFaceTB/SmolLM2-135M --revision main --include "*.md" --json',
    'linnet download bartowski/Llama-3.2-1B-Instruct-GGUF --include "*.Q4_K_M.gguf"',
    'linnet download bartowski/Llama-3.2-1B-Instruct-GGUF:Llama-3.2-1B-Instruct-Q4_K_M.gguf',
    'linnet download google-t5/t5-small --exclude "*.safetensors" --out runs/t5-tokenizer',
    'linnet download --dataset nyu-mll/glue --config sst2 --config mrpc --split train --split validation',
  ],
  arguments: {
    id: required(
      called('id', text),
      'name of the model or data set on the hub: owner/name, owner/name@REVISION or owner/name:FILE.gguf, or its address',
    ),
  },
  options: {
    revision: optional(called('name', text), 'branch, tag or commit (default: main)'),
    out: optional(
      folderPath,
      'output folder; replaces another revision of the same model (default: ~/.cache/linnet/OWNER--NAME, for data ' +
        'sets data/OWNER__NAME)',
    ),
    dataset: flag('fetch a data set'),
    config: repeated(called('name', text), 'configuration of the data set; may be repeated'),
    split: repeated(called('name', text), 'split of the data set; may be repeated'),
    include: repeated(
      called('pattern', text),
      'also fetch these files: "*.md", "*.Q4_K_M.gguf", "Q8_0/*"; may be repeated',
    ),
    exclude: repeated(called('pattern', text), 'skip these files, such as "*.safetensors"; may be repeated'),
    endpoint: endpointOption,
  },
  async run(context, { id: name, revision: wanted, out: folder, dataset, config, split, include, exclude, endpoint }) {
    const place: HubPlace = (dataset ? undefined : hubPlace(name)) ?? { id: name };
    const { id, file } = place;
    const revision = wanted ?? place.revision ?? 'main';
    if (!dataset && config.length + split.length > 0) throw new UsageError('--config and --split need --dataset');
    if (dataset && include.length + exclude.length > 0) {
      throw new UsageError(
        '--include and --exclude select files of a model; for a data set, give --config and --split',
      );
    }
    const out = folder ?? (dataset ? defaultDatasetFolder(id) : defaultModelFolder(id, file));
    const source = hubOf(context, endpoint);
    let asked = false;
    const { commit, files } = await announced(context, ({ onPlan, ...others }) => {
      const watching: TransferOptions = {
        ...others,
        onPlan(plan) {
          asked = true;
          onPlan?.(plan);
        },
      };
      return dataset
        ? source.fetchDataset(id, revision, out, { configs: config, splits: split, ...watching })
        : source.fetchFolder(id, revision, out, {
            include: [...include, ...includedFiles(place)],
            exclude,
            ...watching,
          });
    });
    const bytes = Object.values(files).reduce((total, { size }) => total + size, 0);
    const amount = `${formatCount(Object.keys(files).length)} files, ${formatBytes(bytes)}`;
    context.print(`${asked ? 'saved' : 'already there:'} ${out}: ${id} at ${commit}, ${amount}`);
    return { json: { id, revision, commit, out, bytes, files, alreadyThere: !asked } };
  },
});
