/**
 * Names of models, in `open` and in every command:
 *
 * - a folder, or whatever lies at a path;
 * - `linnet:NAME`, a model that comes with the package;
 * - `owner/name` of the hub, if nothing here has a name like it. `./owner/name` is never asked of the hub;
 * - `owner/name:FILE.gguf`, one file of such a model, also of a folder in it, and `owner/name:Q4_K_M`, its file of this type;
 * - `owner/name@REVISION`, a branch, tag or commit of it, before a `:FILE`; and the addresses of their pages.
 */
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LinnetError } from '../errors.ts';
import { listNames, nearName, quoteName } from '../files/name-list.ts';

/** Models of the package by name, each a folder of it. */
const shippedModels: Readonly<Record<string, string>> = { 'tiny-llama': '../../assets/tiny-llama' };
const shippedPrefix = 'linnet:';

/** A hub model, "owner/name", with a revision and a file. */
const hubId =
  /^([A-Za-z0-9_][\w.-]*\/[A-Za-z0-9_][\w.-]*?)(?:@([\w.-][\w./-]*))?(?::((?:\w[\w.-]*\/){0,5}[\w.-]+\.gguf|\w+))?$/i;

/** The address of a model's page, with its revision, and of a file of it. */
const hubPage =
  /^https:\/\/(?:www\.)?(?:huggingface\.co|hf\.co)\/([^/?#]+\/[^/?#@]+?)(?:(?:@|\/(?:tree|blob|resolve)\/)([^?#]+?)(?:\/([^?#]+\.gguf)(?:\?.*)?)?)?\/?$/i;

/** An existing path, or a hub model. */
export type NamedPlace = { readonly path: string } | HubPlace;

/** A model of the hub, or one file of it. */
export interface HubPlace {
  readonly id: string;
  /** Branch, tag or commit. Default: the downloaded one, else "main". */
  readonly revision?: string;
  /** Its path, or its type. */
  readonly file?: string;
}

/** The model of the hub, or its file, that a name may mean, or the address of its page. */
export function hubPlace(name: string): HubPlace | undefined {
  const [, id, revision, file] = hubPage.exec(name) ?? hubId.exec(name) ?? [];
  return id === undefined ? undefined : { id, revision, file };
}

/** Patterns of the files to download: the file, and all parts of a model in several. */
export function includedFiles({ file }: HubPlace): string[] {
  if (file === undefined) return [];
  if (/\.gguf$/i.test(file)) return [file.replace(/-\d{5}-of-/, '-?????-of-')];
  const type = file.replace(/[a-z]/gi, (letter) => `[${letter.toLowerCase()}${letter.toUpperCase()}]`);
  return [`{,*/}{,*[-._]}${type}{,-?????-of-?????}.gguf`];
}

/**
 * @param base folder that relative paths count from; default: the current one
 * @throws LinnetError `NOT_FOUND` for a missing path that cannot be a hub model
 */
export async function placeOfModel(given: string, base?: string): Promise<NamedPlace> {
  if (given.startsWith(shippedPrefix)) return { path: await shippedFolder(given.slice(shippedPrefix.length)) };
  const path = base === undefined ? given : resolve(base, given);
  if (await isThere(path)) return { path };
  const meant = await nearPath(path);
  const place = hubPlace(given);
  if (meant === undefined && place !== undefined) {
    if (hubPage.test(given) || !(await isThere(dirname(resolve(base ?? '', place.id))))) return place;
  }
  const advice =
    meant === undefined ? 'give a folder, owner/name on the hub, or linnet:tiny-llama' : `did you mean ${meant}?`;
  throw new LinnetError('NOT_FOUND', `there is no folder ${resolve(path)}; ${advice}`);
}

/**
 * The path of a local model: as given (relative to `base`), in the package, or where `linnet download` puts a hub model, given by its
 * name or page address.
 * @throws LinnetError `NOT_FOUND` as `placeOfModel`, and for a model of the hub that has not been downloaded
 */
export async function modelHere(given: string, base?: string): Promise<string> {
  const place = await placeOfModel(given, base);
  if ('path' in place) return place.path;
  const here = await keptModel(place);
  if (here !== undefined) return here;
  const { id, revision, file } = place;
  const name = [id, revision && `@${revision}`, file && `:${file}`].join('');
  throw new LinnetError(
    'NOT_FOUND',
    `there is no folder ${name}, and no downloaded hub model with this name; "linnet download ${name}" fetches it`,
  );
}

/** The folder of a hub model, if its revision is completely downloaded. @throws LinnetError as `examineDownload` */
export async function keptModel({ id, revision, file }: HubPlace): Promise<string | undefined> {
  const { defaultModelFolder, examineDownload } = await import('../checkpoint/hub/hub.ts');
  const folder = defaultModelFolder(id, file);
  const { record, intact } = (await examineDownload(folder, id)) ?? {};
  return intact === true && [undefined, record?.revision, record?.commit].includes(revision) ? folder : undefined;
}

async function shippedFolder(name: string): Promise<string> {
  if (Object.hasOwn(shippedModels, name)) {
    const folder = fileURLToPath(new URL(shippedModels[name], import.meta.url));
    if (await isThere(folder)) return folder;
    throw new LinnetError(
      'NOT_FOUND',
      `${shippedPrefix}${name} is not at ${folder}; if you bundle linnet, keep it external, since it reads files next to its code`,
    );
  }
  throw new LinnetError(
    'NOT_FOUND',
    `the package has no model ${quoteName(name)}; it has ${listNames(Object.keys(shippedModels).map((one) => shippedPrefix + one))}`,
  );
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** An existing path that differs by a few letters in one of its last two names. */
async function nearPath(given: string): Promise<string | undefined> {
  const folder = dirname(given);
  if (await isThere(folder)) return sibling(folder, basename(given));
  const above = await sibling(dirname(folder), basename(folder));
  const meant = above && join(above, basename(given));
  return meant !== undefined && (await isThere(meant)) ? meant : undefined;
}

async function sibling(folder: string, name: string): Promise<string | undefined> {
  const near = nearName(name, await readdir(folder).catch((): string[] => []));
  return near === undefined ? undefined : join(folder, near);
}
