"""The page that `vidlabel review` makes: tables read, previews made, one HTML file of it all."""
