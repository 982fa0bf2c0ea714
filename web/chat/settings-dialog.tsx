/** A dialog with a column's settings. They apply to texts written from now on. */
import { Button } from '../components/button.tsx';
import { Dialog } from '../components/dialog.tsx';
import { chooseFile } from '../components/files.ts';
import { CheckField, ChoiceField, TextField } from '../components/fields.tsx';
import { SamplingForm } from '../components/sampling-fields.tsx';
import { type CallSetting, defaultSettings, type Settings, type SpeculationSetting, toolsOf } from './settings.ts';

export interface SettingsDialogProps {
  readonly settings: Settings;
  /** Whether there are messages, and so a system prompt. */
  readonly chat: boolean;
  readonly onSettings: (settings: Settings) => void;
  readonly onClose: () => void;
}

const speculations: Readonly<Record<SpeculationSetting, string>> = {
  server: 'as the server does',
  off: 'off: one token a round',
  lookup: 'look-up in the text so far',
  suffix: 'suffixes of this and earlier texts',
  recycle: 'tokens that the model considered',
  auto: 'suffixes, then considered tokens',
};

const callings: Readonly<Record<CallSetting, string>> = {
  auto: 'where the model wants to',
  required: 'in answer to every message',
  none: 'never',
};

function noteOf(settings: Settings): string {
  try {
    const { length } = toolsOf(settings) ?? [];
    return length === 0 ? "a list in JSON, as OpenAI's tools" : `${length} ${length === 1 ? 'function' : 'functions'}`;
  } catch {
    return "This is no list in JSON, such as OpenAI's tools.";
  }
}

export function SettingsDialog({ settings, chat, onSettings, onClose }: SettingsDialogProps) {
  const set = (change: Partial<Settings>): void => onSettings({ ...settings, ...change });
  return (
    <Dialog
      title="Settings"
      onClose={onClose}
      footer={
        <>
          <Button name="Reset" onClick={() => set({ ...defaultSettings, markdown: settings.markdown })} />
          <Button name="Done" kind="primary" onClick={onClose} />
        </>
      }
    >
      {chat && (
        <TextField
          label="System prompt"
          rows={3}
          value={settings.system}
          placeholder="none"
          onValue={(system) => set({ system })}
        />
      )}
      {chat && (
        <div class="functions">
          <TextField
            label="Functions that the model may call"
            note={noteOf(settings)}
            rows={3}
            value={settings.tools}
            placeholder='[{ "type": "function", "function": { "name": "weather", … } }]'
            onValue={(tools) => set({ tools })}
          />
          <Button
            name="Load a file"
            icon="open"
            onClick={() => {
              void chooseFile().then(async (file) => {
                if (file !== undefined) set({ tools: await file.text() });
              });
            }}
          />
          {settings.tools.trim() !== '' && (
            <ChoiceField label="Calls" value={settings.calls} choices={callings} onValue={(calls) => set({ calls })} />
          )}
        </div>
      )}
      <SamplingForm sampling={settings} defaults={defaultSettings} mostTokens={65536} onSampling={set} />
      <ChoiceField
        label="Speculation"
        note="faster where the text repeats; the text is the same"
        value={settings.speculation}
        choices={speculations}
        onValue={(speculation) => set({ speculation })}
      />
      <CheckField
        label="Show texts of the model as Markdown"
        checked={settings.markdown}
        onValue={(markdown) => set({ markdown })}
      />
    </Dialog>
  );
}
