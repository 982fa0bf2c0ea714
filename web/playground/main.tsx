/** Starts the page. */
import '../components/theme.css';
import '../components/controls.css';
import '../components/drawings.css';
import '../components/header.css';
import '../components/maps.css';
import './playground.css';
import { render } from 'preact';
import { restoreScheme } from '../components/scheme.tsx';
import { PlaygroundApp } from './app.tsx';

restoreScheme();
const place = document.querySelector('#page');
if (place !== null) render(<PlaygroundApp />, place);
