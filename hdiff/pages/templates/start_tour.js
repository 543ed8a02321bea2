// Entry point of tour.html.
{
  const films = hdiff.data();
  for (const place of document.querySelectorAll("[data-film]")) hdiff.mountTrajectory(place, films[place.dataset.film], { isSmall: !("large" in place.dataset) });
}
