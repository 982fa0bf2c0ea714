/** Texts kept in this browser as session files: open, download, delete. */
import { Button } from '../components/button.tsx';
import { saveFile } from '../components/files.ts';
import type { PrivateFile } from '../../src/open/private-folder.ts';
import { deleteSession, savedSession } from '../../src/open/session-folder.ts';
import { formatBytes } from '../../src/report/quantities.ts';

export interface KeptTextsProps {
  readonly kept: readonly PrivateFile[];
  /** Whether another text can be opened. */
  readonly room: boolean;
  readonly onOpen: (name: string) => void;
  /** Called after the list changes. */
  readonly onChange: () => void;
  readonly onProblem: (error: unknown) => void;
}

export function KeptTexts({ kept, room, onOpen, onChange, onProblem }: KeptTextsProps) {
  if (kept.length === 0) return null;
  return (
    <section class="card" aria-label="Kept texts">
      <h2>Kept in this browser</h2>
      <ul class="kept-texts">
        {kept.map(({ name, bytes, changed }) => (
          <li key={name} class="row kept">
            <span>
              {name} <span class="muted numbers">{`${formatBytes(bytes)}, ${new Date(changed).toLocaleString()}`}</span>
            </span>
            <span class="row">
              <Button name={`Open ${name}`} icon="open" bare disabled={!room} onClick={() => onOpen(name)} />
              <Button
                name={`Download ${name}`}
                icon="save"
                bare
                onClick={() => {
                  savedSession(name).then((file) => saveFile(new Blob([file]), `${name}.session`), onProblem);
                }}
              />
              <Button
                name={`Delete ${name}`}
                icon="close"
                bare
                onClick={() => {
                  deleteSession(name).then(onChange, onProblem);
                }}
              />
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}
