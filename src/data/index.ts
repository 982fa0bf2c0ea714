/** `linnet/data`: texts and how they become rows of tokens; training your own tokenizer (docs/train.md). */
export { type SpecialTokens, type TokenizerFiles, tokenizerFileContents } from '../tokenizer/byte-level.ts';
export { byteTokenizer, byteTokenizerFiles } from '../tokenizer/bytes.ts';
export { type ChatMessage, ChatTemplate, type TemplateOptions } from '../tokenizer/chat-template.ts';
export { type HuggingFaceTokenizerFiles, huggingFaceTokenizer } from '../tokenizer/hugging-face.ts';
export { type EncodeOptions, loadTokenizer, readChatTemplate, type Tokenizer } from '../tokenizer/tokenizer.ts';
export { type TrainBpeOptions, type TrainBpeProgress, trainBpe } from '../tokenizer/train-bpe.ts';
export type { Document } from './documents/document.ts';
export { loadDocuments, type ReadDocumentsOptions, readDocuments } from './documents/documents.ts';
export { LabelledDataset, type LabelledOptions, type LabelledText, readLabelledTexts } from './datasets/labelled.ts';
export type { PackingMode, PackingOptions } from './datasets/packed-rows.ts';
export { PackedDataset, packDocuments } from './datasets/packing.ts';
export type { BatchTensors, RowDataset, RowInput, RowInputs, RowVisit } from './rows/row-dataset.ts';
export { type PairOptions, TextPairDataset } from './datasets/sequence-pairs.ts';
export { type DocumentSplit, splitDocuments } from './documents/split.ts';
