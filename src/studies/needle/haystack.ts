/** The text that needles are hidden in: sentences of documents, from any of them on, over and over. */
import type { Document } from '../../data/documents/documents.ts';
import { LinnetError } from '../../errors.ts';

/** Longer ones are lists or verses more often than prose, and make depth coarse. */
const mostCharacters = 400;
/** Enough for the longest text that is asked for; it is gone through again if not. */
const mostSentences = 50_000;

/**
 * Sentences of documents, white space in them made one space.
 * @throws LinnetError `INPUT` for texts without a sentence
 */
export async function readHaystack(documents: AsyncIterable<Document>): Promise<string[]> {
  const segmenter = new Intl.Segmenter('en', { granularity: 'sentence' });
  const sentences: string[] = [];
  for await (const { text } of documents) {
    // Line ends first: the segmenter ends sentences at them.
    for (const { segment } of segmenter.segment(text.replaceAll(/\s+/g, ' '))) {
      const sentence = segment.trim();
      if (sentence.length > 0 && sentence.length <= mostCharacters) sentences.push(sentence);
      if (sentences.length === mostSentences) return sentences;
    }
  }
  if (sentences.length > 0) return sentences;
  throw new LinnetError('INPUT', 'the text for the haystack has no sentence; give prose');
}
