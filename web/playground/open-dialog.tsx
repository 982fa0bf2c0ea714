/** Asks which model to open: a URL or a folder on this machine. */
import { useState } from 'preact/hooks';
import { Button } from '../components/button.tsx';
import { Dialog } from '../components/dialog.tsx';
import { TextField } from '../components/fields.tsx';
import { chooseFolder } from './folder-files.ts';
import { KeptDownloads } from './kept-downloads.tsx';
import type { ChosenModel } from './protocol.ts';

export interface OpenDialogProps {
  readonly onClose: () => void;
  readonly onSource: (source: ChosenModel) => void;
}

export function OpenDialog({ onClose, onSource }: OpenDialogProps) {
  const [url, setUrl] = useState('model/');
  return (
    <Dialog
      title="Open a model"
      onClose={onClose}
      footer={
        <>
          <Button
            name="Choose a folder"
            icon="open"
            onClick={() => {
              void chooseFolder().then((folder) => folder && onSource(folder));
            }}
          />
          <Button
            name="Open the URL"
            kind="primary"
            disabled={!URL.canParse(url, location.href)}
            onClick={() => onSource({ kind: 'url', url: new URL(url, location.href).href })}
          />
        </>
      }
    >
      <TextField
        label="URL of an exported folder"
        note="other sites must send CORS headers"
        value={url}
        onValue={setUrl}
      />
      <p class="muted">Or drop a folder written by linnet export onto the page. It is read here and sent nowhere.</p>
      <KeptDownloads />
    </Dialog>
  );
}
