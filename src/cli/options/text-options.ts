/** Options for the sources of texts. */
import { requiredList, withDefault } from '../framework/command.ts';
import { called, text } from '../framework/option-values.ts';

export const documentSources = requiredList(
  called('sources', text),
  '.txt and .jsonl files, npm:PACKAGE for a corpus package, or - for standard input',
);

export const fieldOption = withDefault(called('name', text), 'text', 'field of .jsonl lines that holds the text');
