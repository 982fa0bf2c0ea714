/** Starts the page. */
import '../components/theme.css';
import '../components/controls.css';
import '../components/drawings.css';
import { render } from 'preact';
import { restoreScheme, SchemeButton } from '../components/scheme.tsx';
import { TokenTree } from '../components/token-tree.tsx';
import { LineChart } from '../components/line-chart.tsx';
import { Dialog } from '../components/dialog.tsx';
import { Slider } from '../components/fields.tsx';

restoreScheme();
const place = document.querySelector('#page');
if (place !== null)
  render(
    <main>
      <SchemeButton />
      <Slider label="a" value={1} min={0} max={2} step={1} onValue={() => undefined} />
      <TokenTree tokens={['a', ' b', ' c', 'dd\n']} parents={[-1, 0, 0, 1]} accepted={[0, 1]} next=" new" />
      <LineChart title="t" x={[1, 2, 3]} xName="n" lines={[{ name: 'a', values: [1, 2, 3] }]} format={String} />
      <Dialog title="x" onClose={() => undefined}>
        Hi
      </Dialog>
    </main>,
    place,
  );
