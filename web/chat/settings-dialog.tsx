/** Settings of a column, in a window. They hold for what is written from now on. */
import { Button } from '../components/button.tsx';
import { Dialog } from '../components/dialog.tsx';
import { CheckField, ChoiceField, TextField } from '../components/fields.tsx';
import { SamplingForm } from '../components/sampling-fields.tsx';
import { defaultSettings, type Settings, type SpeculationSetting } from './settings.ts';

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
