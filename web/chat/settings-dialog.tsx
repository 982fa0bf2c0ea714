/** A dialog with a column's settings. They apply to texts written from now on. */
import { Button } from '../components/button.tsx';
import { Dialog } from '../components/dialog.tsx';
import { chooseFile } from '../components/files.ts';
import { CheckField, ChoiceField, TextField } from '../components/fields.tsx';
import { SamplingForm } from '../components/sampling-fields.tsx';
import { type CallSetting, type Settings, type SpeculationSetting, toolsOf } from './settings.ts';

export interface SettingsDialogProps {
  readonly settings: Settings;
  readonly defaults: Settings;
  /** Whether the model takes messages, and so a system prompt. */
  readonly chat: boolean;
  readonly onSettings: (settings: Settings) => void;
  readonly onClose: () => void;
}

const speculations: Readonly<Record<SpeculationSetting, string>> = {
  server: "the server's default",
  off: 'off: one token a round',
  lookup: 'repetitions in this text',
  suffix: 'repetitions in this and earlier texts',
  recycle: 'tokens the model considered',
  auto: 'repetitions, then considered tokens',
};

const callings: Readonly<Record<CallSetting, string>> = {
  auto: 'when the model chooses',
  required: 'in answer to every message',
  none: 'never',
};

function noteOf(settings: Settings): string {
  try {
    const { length } = toolsOf(settings) ?? [];
    return length === 0 ? "a JSON list, like OpenAI's tools" : `${length} ${length === 1 ? 'function' : 'functions'}`;
  } catch {
    return "This is not a JSON list like OpenAI's tools.";
  }
}

export function SettingsDialog({ settings, defaults, chat, onSettings, onClose }: SettingsDialogProps) {
  const set = (change: Partial<Settings>): void => onSettings({ ...settings, ...change });
  return (
    <Dialog
      title="Settings"
      onClose={onClose}
      footer={
        <>
          <Button name="Reset" onClick={() => set({ ...defaults, markdown: settings.markdown })} />
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
      <SamplingForm sampling={settings} defaults={defaults} mostTokens={65536} onSampling={set} />
      <ChoiceField
        label="Speculation"
        note="faster if the text repeats itself; the text stays the same"
        value={settings.speculation}
        choices={speculations}
        onValue={(speculation) => set({ speculation })}
      />
      <CheckField
        label="Show the model's texts as Markdown"
        checked={settings.markdown}
        onValue={(markdown) => set({ markdown })}
      />
    </Dialog>
  );
}
