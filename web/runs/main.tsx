/** Starts the page. */
import './no-eval.ts';
import '../components/theme.css';
import '../components/controls.css';
import '../components/drawings.css';
import '../components/header.css';
import './runs.css';
import { render } from 'preact';
import { restoreScheme } from '../components/scheme.tsx';
import { RunsApp } from './app.tsx';

restoreScheme();
const place = document.querySelector('#page');
if (place !== null) render(<RunsApp />, place);
