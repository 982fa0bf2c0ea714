/** Asks for the server's API key. */
import { useState } from 'preact/hooks';
import { Button } from '../components/button.tsx';
import { Dialog } from '../components/dialog.tsx';
import { TextField } from '../components/fields.tsx';

export interface KeyDialogProps {
  /** The key the server just refused; empty for none. */
  readonly refused: string;
  readonly onClose: () => void;
  readonly onKey: (key: string) => void;
}

export function KeyDialog({ refused, onClose, onKey }: KeyDialogProps) {
  const [key, setKey] = useState('');
  return (
    <Dialog title="API key" onClose={onClose}>
      <form
        class="key"
        onSubmit={(event) => {
          event.preventDefault();
          if (key !== '') onKey(key);
        }}
      >
        {refused !== '' && (
          <p class="problem" role="alert">
            The server rejects this key. Check that it is complete, then try again.
          </p>
        )}
        <TextField
          label="Key"
          note="The server requires one. It is kept until this tab is closed."
          secret
          first
          value={key}
          onValue={setKey}
        />
        <Button name="Use" kind="primary" type="submit" disabled={key === ''} />
      </form>
    </Dialog>
  );
}
