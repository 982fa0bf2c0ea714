/** Names that files give to other files of their folder. They decide which files are opened or fetched, so they are checked. */
import { LinnetError } from '../errors.ts';
import { quoteName } from './name-list.ts';

/**
 * Checks that a name read from a file is one plain file name: no separators of any system, no drive letters, no `..`.
 * @param source where the name was found, for the message
 * @throws LinnetError `PATH`
 */
export function checkPlainFileName(name: string, source: string): string {
  const plain = name !== '' && name !== '.' && name !== '..' && name.length <= 255 && !/[/\\:\p{Cc}]/u.test(name);
  if (!plain) throw new LinnetError('PATH', `${source}: ${quoteName(name)} is not a plain file name inside the folder`);
  return name;
}
