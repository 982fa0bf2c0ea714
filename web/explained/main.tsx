/** Mounts the figures in the pages; the text is in their HTML. */
import '../components/theme.css';
import '../components/controls.css';
import '../components/drawings.css';
import '../components/header.css';
import '../components/maps.css';
import './explained.css';
import { type ComponentType, render } from 'preact';
import { restoreScheme, SchemeButton } from '../components/scheme.tsx';
import { ConvolutionFigure } from './convolution-figure.tsx';
import { GroupFigure } from './group-figure.tsx';
import { TreeFigure } from './tree-figure.tsx';

const figures: Readonly<Record<string, ComponentType>> = {
  group: GroupFigure,
  tree: TreeFigure,
  convolution: ConvolutionFigure,
  scheme: SchemeButton,
};

restoreScheme();
for (const place of document.querySelectorAll<HTMLElement>('[data-figure]')) {
  const Figure = figures[place.dataset.figure ?? ''];
  if (Figure !== undefined) render(<Figure />, place);
}
