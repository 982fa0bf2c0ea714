/** `open` for browsers: an exported folder by its URL, ready to be asked. */
import { findChatTemplate } from '../tokenizer/chat-template-sources.ts';
import { openExport, readIfPresent } from './model-files.ts';
import type { OpenedCausal, OpenedEncoderDecoder } from './opened-model.ts';
import { webSessionFiles } from './web-sessions.ts';
import { urlFiles, type WebOpenOptions, webTokenizer } from './url-files.ts';

/**
 * Opens an exported model folder behind a URL. Its result has the same names and does the same as in Node; sessions are
 * saved by name in the origin's private file system: `savedSessions` lists them.
 *
 * @param url of the folder, absolute or relative to the page
 * @throws LinnetError `INPUT` if it is not an http(s) URL, `NOT_FOUND` if a file cannot be fetched, `FORMAT` if a file is
 *   malformed, has not the size and SHA-256 that linnet.json says, or is not the graph that the configuration asks for,
 *   `CONFIG` if the model or an option is not supported, `MISMATCH` for a device that the export was not made for,
 *   `RUNTIME` if the engine fails, `ABORTED`
 * @example
 * ```ts
 * await using model = await open('/model/', { cache: new CacheStorageWeights() });
 * for await (const text of model.generate('Once upon a time')) document.body.append(text);
 * ```
 */
export async function openUrl(
  url: string | URL,
  options: WebOpenOptions = {},
): Promise<OpenedCausal | OpenedEncoderDecoder> {
  const files = urlFiles(url, options);
  return openExport(files, async ({ fingerprint }) => {
    const tokenizer = await webTokenizer(files);
    const sources = { read: (file: string) => readIfPresent(files, file), nameOf: files.nameOf };
    const template = tokenizer && (await findChatTemplate(sources, tokenizer));
    return { tokenizer, template, sessionFiles: webSessionFiles(fingerprint) };
  });
}
