"""The page's CSS: nothing is fetched, so the fonts are the reader's own."""

from whaleid.images.thumbnails import HEIGHT, WIDTH
from whaleid.report.colours import BLUE, GREY, ORANGE

INK = "#1b1b1b"
_PAGE = f"""
body {{ font: 15px/1.45 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; color: {INK}; background: #fff;
  max-width: 1340px; margin: 0 auto; padding: 20px 24px 60px }}
h1 {{ font-size: 26px; margin: 0 0 2px }}
h2 {{ font-size: 19px; margin: 36px 0 8px; border-bottom: 1px solid #ddd; padding-bottom: 4px }}
h3 {{ font-size: 16px; margin: 24px 0 2px }}
p {{ margin: 4px 0 10px; color: #444; max-width: 90ch }}
table {{ border-collapse: collapse; font-size: 14px }}
th, td {{ text-align: left; padding: 3px 14px 3px 0; vertical-align: top }}
th {{ font-weight: 600 }}
tr {{ border-top: 1px solid #eee }}
tr.h th {{ padding-top: 14px }}
td.n {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }}
td.m {{ color: #444 }}
summary {{ cursor: pointer; color: #444 }}
summary:hover {{ color: #000 }}
.blue {{ color: {BLUE} }}
.orange {{ color: {ORANGE} }}
.grey {{ color: {GREY} }}
.ink {{ color: {INK} }}
"""
_FIGURES = f"""
.control {{ position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; align-items: center; gap: 6px 12px;
  background: #fff; border-bottom: 1px solid #ddd; padding: 10px 0 }}
.control input[type=range] {{ flex: 1 1 200px; max-width: 620px; accent-color: {ORANGE} }}
.control input[type=number] {{ width: 6.5em; font: inherit; padding: 2px 4px }}
.control input:invalid {{ outline: 2px solid {ORANGE} }}
.control button {{ font: inherit; padding: 3px 12px; border: 1px solid {GREY}; border-radius: 6px; background: #fff;
  cursor: pointer }}
.control button[aria-pressed=true] {{ background: {INK}; border-color: {INK}; color: #fff }}
.control output {{ font-weight: 600; font-variant-numeric: tabular-nums; min-width: 7.5em }}
.tiles {{ display: flex; flex-wrap: wrap; gap: 12px; margin: 16px 0 }}
.tile {{ border: 1px solid #ddd; border-radius: 6px; padding: 8px 14px; min-width: 118px }}
.tile b {{ display: block; font-size: 25px; line-height: 1.2 }}
.tile span, .tile small {{ display: block; font-size: 13px; color: {GREY} }}
.bars {{ width: 100%; max-width: 900px }}
.bars tr {{ border: 0 }}
.bars td {{ white-space: nowrap }}
.bars td.b {{ width: 60%; padding: 5px 14px 5px 0 }}
.track {{ position: relative; height: 16px; background: #f1f1f1 }}
.track i {{ position: absolute; top: 0; bottom: 0; left: 0; background: #b4b4b4 }}
.track i.me {{ background: {BLUE} }}
.track i.at {{ background: none; border: 1px solid {INK}; border-width: 0 2px; top: 3px; bottom: 3px }}
.track i.at:after {{ content: ""; position: absolute; left: 0; right: 0; top: 4px; border-top: 2px solid {INK} }}
@media (max-width: 640px) {{
  .bars td {{ white-space: normal }}
  .bars td:last-child {{ display: none }}
}}
.pictures {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(400px, 100%), 1fr)); gap: 18px 24px }}
figure {{ margin: 0; min-width: 0 }}
figure h3 {{ margin: 8px 0 2px }}
figure img {{ width: 100%; max-width: 560px; height: auto; display: block }}
.plot > svg {{ width: 100%; max-width: 560px; display: block }}
.plot .grid {{ stroke: #e4e4e4 }}
.plot text {{ font-size: 13px; fill: {GREY} }}
.plot text.blue, .plot text.orange {{ fill: currentColor }}
.plot .line {{ fill: none; stroke: currentColor; stroke-width: 2 }}
.plot .thick {{ stroke-width: 2.8 }}
.plot .dash {{ stroke-dasharray: 8 4 }}
.plot .dashdot {{ stroke-dasharray: 9 3 2 3 }}
.swatch {{ width: 26px; height: 12px; margin-right: 6px }}
.plot .dots {{ stroke-dasharray: 2 3; stroke-width: 1.5 }}
.plot .bar, .plot .dot {{ fill: currentColor }}
.legend {{ display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 13px; color: #444; min-height: 20px }}
figcaption {{ font-size: 13px; color: #444 }}
figure summary {{ font-size: 13px }}
figure details div {{ max-height: 320px; overflow: auto }}
figure table {{ font-size: 12px; margin-top: 6px }}
figure th {{ text-align: right }}
"""
_SHEETS = f"""
.sheet {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(636px, 100%), 1fr)); gap: 6px 20px }}
.sheet .r {{ content-visibility: visible }}
.sheet .c {{ flex: 0 1 {WIDTH}px; min-width: 0 }}
.sheet .t {{ width: 100%; height: auto; aspect-ratio: {WIDTH} / {HEIGHT} }}
.r {{ display: flex; gap: 4px; padding: 6px 0; border-bottom: 1px solid #eee; content-visibility: auto;
  contain-intrinsic-size: 636px 122px }}
.c {{ width: {WIDTH}px; border: 2px solid #ddd; border-radius: 4px; padding: 0 0 3px; font-size: 12px;
  line-height: 1.3; text-align: center }}
.c b, .c span {{ display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; padding: 0 3px }}
.q {{ border-color: #fff; margin-right: 8px }}
.t {{ display: block; width: {WIDTH}px; height: {HEIGHT}px; background: #eee center/contain no-repeat;
  print-color-adjust: exact; -webkit-print-color-adjust: exact }}
.t.x {{ display: flex; align-items: center; justify-content: center; font-style: normal; color: {GREY} }}
.c.ok {{ border-color: {BLUE}; box-shadow: 0 0 0 2px {BLUE} }}
.c.no {{ border-color: {ORANGE} }}
.c.off {{ opacity: 0.6 }}
.ok b, b.ok {{ color: {BLUE} }}
.no b, b.no {{ color: {ORANGE} }}
.key b {{ padding: 0 3px 0 12px }}
.key b:first-child {{ padding-left: 0 }}
.strips {{ display: flex; flex-wrap: wrap; gap: 14px 22px }}
.strip .r {{ border: 0; padding: 0; flex-wrap: wrap; contain-intrinsic-size: 208px 96px }}
.strip p {{ font-size: 12px; margin: 0 }}
"""
_ANSWERS = f"""
.answer {{ display: grid; grid-template-columns: repeat(6, minmax(0, 1fr)); gap: 8px; padding: 12px 0;
  border-bottom: 1px solid #ddd; content-visibility: auto; contain-intrinsic-size: 1290px 210px; break-inside: avoid }}
.asked {{ border-right: 2px solid #bbb; padding-right: 8px }}
.w {{ font-size: 13px; line-height: 1.35; min-width: 0 }}
.w .t {{ width: 100%; height: auto; aspect-ratio: 4 / 3 }}
.w b, .w span {{ display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap }}
.w.same .t {{ box-shadow: 0 0 0 3px {ORANGE} }}
.w.same span {{ color: {ORANGE} }}
"""
STYLE = _PAGE + _FIGURES + _SHEETS + _ANSWERS
