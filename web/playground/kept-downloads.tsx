/** The size of downloads kept in this browser, and a button to delete them. */
import { useEffect, useState } from 'preact/hooks';
import { Button } from '../components/button.tsx';
import { FileSystemWeights } from '../../src/browser/file-system-weights.ts';
import { formatBytes } from '../../src/report/quantities.ts';

export function KeptDownloads() {
  const [bytes, setBytes] = useState<number | undefined>(undefined);
  const look = async (): Promise<void> => setBytes(await (await FileSystemWeights.open())?.bytes());
  useEffect(() => {
    look().catch(() => setBytes(undefined));
  }, []);
  if (bytes === undefined) return <p class="muted">This browser decides how long downloads are kept.</p>;
  const forget = async (): Promise<void> => {
    await (await FileSystemWeights.open())?.clear();
    await look();
  };
  return (
    <div class="row kept">
      <span class="muted">Downloads kept in this browser: {formatBytes(bytes)}.</span>
      <Button name="Forget them" disabled={bytes === 0} onClick={() => void forget()} />
    </div>
  );
}
